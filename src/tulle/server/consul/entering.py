"""What clients register, read and checked: services and checks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from tulle.model.frozen import FrozenMap
from tulle.model.service import Health
from tulle.registry.catalog import Check, CheckKind, Probe, Service, TaggedAddress
from tulle.registry.transitions import Refused
from tulle.server.consul.body import Body

OUTPUT_LIMIT = 4096
_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SIDECAR = "-sidecar-proxy"
_SIDECAR_PORTS = range(21000, 21256)
Ports = Callable[[], Mapping[str, int]]
"""What ports are taken on a node, by the ids of the services that have them."""


def status(text: str, default: Health) -> Health:
    """Raises Refused."""
    if not text:
        return default
    try:
        return Health(text)
    except ValueError:
        raise Refused(400, f"Invalid check: Status for checks must be passing, warning, critical, not {text[:64]!r}") from None


def service(body: Body, node: str) -> Service:
    """Raises Refused."""
    name = body.text("Name", "Service")
    if not name:
        raise Refused(400, "Missing service name")
    address = body.text("Address")
    if _is_unspecified(address):
        raise Refused(400, "Invalid service address")
    weights = body.part("Weights") or Body({})
    passing, warning = weights.number("Passing", 1, most=65535), weights.number("Warning", 1, most=65535)
    if passing < 1 or warning < 0:
        raise Refused(400, "Invalid Weights: Passing must be greater than 0, and Warning not less")
    port = body.number("Port", most=65535)
    if port < 0:
        raise Refused(400, "Invalid service: Port must be between 0 and 65535")
    kind = body.text("Kind")
    proxy = body.raw("Proxy")
    if kind == "connect-proxy" and not proxy:
        raise Refused(400, "Invalid service: Proxy.DestinationServiceName must be non-empty for Connect proxy services")
    return Service(
        node=node,
        id=body.text("ID") or name,
        name=name,
        tags=body.texts("Tags"),
        address=address,
        port=port,
        meta=meta(body),
        tagged_addresses=_tagged(body),
        passing_weight=passing,
        warning_weight=warning,
        enable_tag_override=body.flag("EnableTagOverride"),
        kind=kind,
        socket_path=body.text("SocketPath"),
        proxy=proxy,
        connect=body.raw("Connect"),
        locality=body.raw("Locality"),
    )


def meta(body: Body, name: str = "Meta") -> FrozenMap[str, str]:
    """Metadata of a service or of a node. Raises Refused."""
    words = body.words(name)
    if len(words) > 64:
        raise Refused(400, f"Invalid {name}: Node metadata cannot contain more than 64 key/value pairs")
    for key, value in words.items():
        if not _META_KEY.fullmatch(key):
            raise Refused(
                400, f"Invalid {name}: Couldn't load metadata pair ('{key[:64]}', '{value[:64]}'): Key contains invalid characters"
            )
        if len(value) > 512:
            raise Refused(400, f"Invalid {name}: Value of {key!r} is too long (limit: 512 characters)")
    return words


def _tagged(body: Body) -> FrozenMap[str, TaggedAddress]:
    given = body.objects("TaggedAddresses")
    return FrozenMap({name: TaggedAddress(address=a.text("Address"), port=a.number("Port", most=65535)) for name, a in given.items()})


def _is_unspecified(address: str) -> bool:
    try:
        return ip_address(address).is_unspecified
    except ValueError:
        return False


# === checks of an agent


def checks_of_service(body: Body, owner: Service, *, scripts: bool) -> tuple[Check, ...]:
    """What a service's registration says in `Check` and `Checks`. Raises Refused."""
    one = body.part("Check")
    given = [*([one] if one and one.given else []), *(item for item in body.parts("Checks") if item.given)]
    found = []
    for number, item in enumerate(given, 1):
        identifier = item.text("CheckID", "ID") or (f"service:{owner.id}" + (f":{number}" if len(given) > 1 else ""))
        name = item.text("Name") or f"Service '{owner.name}' check"
        found.append(check(item, owner.node, identifier, name, owner.id, scripts=scripts))
    return tuple(found)


def check(body: Body, node: str, identifier: str, name: str, service_id: str, *, scripts: bool) -> Check:
    """A check that this agent is to run, or that clients tell of. Raises Refused."""
    found = probe(body)
    kind = found.kind
    if kind is CheckKind.SCRIPT and not scripts:
        raise Refused(400, "Scripts are disabled on this agent; to enable, start it with TULLE_ENABLE_SCRIPT_CHECKS=true")
    return Check(
        node=node,
        id=identifier,
        name=name,
        status=status(body.text("Status"), Health.CRITICAL),
        notes=body.text("Notes"),
        service_id=service_id,
        type=kind.value,
        probe=found,
    )


def probe(body: Body) -> Probe:
    """Raises Refused when it does not say one way to come to a result, and how often."""
    if body.text("Script") or body.text("DockerContainerID"):
        raise Refused(400, "Invalid check: neither Script nor DockerContainerID can be used here; give a program in Args")
    found = Probe(
        args=body.texts("Args", "ScriptArgs"),
        interval=body.seconds("Interval"),
        timeout=body.seconds("Timeout"),
        ttl=body.seconds("TTL"),
        http=body.text("HTTP"),
        method=body.text("Method"),
        header=body.lists("Header"),
        body=body.text("Body"),
        disable_redirects=body.flag("DisableRedirects"),
        tcp=body.text("TCP"),
        tcp_use_tls=body.flag("TCPUseTLS"),
        udp=body.text("UDP"),
        grpc=body.text("GRPC"),
        grpc_use_tls=body.flag("GRPCUseTLS"),
        h2ping=body.text("H2PING"),
        h2ping_use_tls=body.flag("H2PingUseTLS", default=True),
        tls_server_name=body.text("TLSServerName"),
        tls_skip_verify=body.flag("TLSSkipVerify"),
        alias_node=body.text("AliasNode"),
        alias_service=body.text("AliasService"),
        os_service=body.text("OSService"),
        output_max_size=min(body.number("OutputMaxSize") or OUTPUT_LIMIT, OUTPUT_LIMIT),
        success_before_passing=body.number("SuccessBeforePassing", most=1_000_000),
        failures_before_warning=body.number("FailuresBeforeWarning", most=1_000_000),
        failures_before_critical=body.number("FailuresBeforeCritical", most=1_000_000),
        deregister_after=body.seconds("DeregisterCriticalServiceAfter"),
    )
    if wrong := _wrong(found):
        raise Refused(400, f"Invalid check: {wrong}")
    return found


def _wrong(p: Probe) -> str:
    ways = [p.args, p.http, p.tcp, p.udp, p.grpc, p.h2ping, p.os_service]
    alias = bool(p.alias_node or p.alias_service)
    rules = (
        (p.interval < 0 or p.timeout < 0 or p.ttl < 0 or p.deregister_after < 0, "durations must not be negative"),
        (p.ttl and p.interval, "Interval and TTL cannot both be specified"),
        (alias and (p.interval or p.ttl), "Interval and TTL cannot be set for Alias checks"),
        (
            bool(p.ttl) + alias + sum(map(bool, ways)) > 1,
            "only one of Args, HTTP, TCP, UDP, GRPC, H2PING, OSService, Alias and TTL can be given",
        ),
        (p.interval and not any(ways), "Interval is set, but nothing that is to be done then"),
        (any(ways) and not p.interval, "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks"),
        (not (any(ways) or alias or p.ttl), "TTL must be > 0 for TTL checks, and nothing else is said that is to be done"),
        (p.output_max_size < 1, "MaxOutputMaxSize must be positive"),
        (min(p.success_before_passing, p.failures_before_warning, p.failures_before_critical) < 0, "thresholds must not be negative"),
        (
            p.failures_before_warning > p.failures_before_critical,
            "FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
        ),
    )
    return next((message for broken, message in rules if broken), "")


def sidecar_id(owner: str) -> str:
    return owner + _SIDECAR


def sidecar(body: Body, owner: Service, ports: Ports, *, scripts: bool) -> tuple[Service, tuple[Check, ...]] | None:
    """The proxy that a registration asks for in `Connect.SidecarService`. Raises Refused.

    One that is there already keeps its port: who registers again disturbs nobody.
    """
    connect = body.part("Connect")
    given = connect.part("SidecarService") if connect else None
    if given is None:
        return None
    identifier = given.text("ID") or sidecar_id(owner.id)
    port = given.number("Port", most=65535) or _free_port(ports(), identifier)
    target = {"DestinationServiceName": owner.name, "DestinationServiceID": owner.id, "LocalServicePort": owner.port}
    own = json.loads(given.raw("Proxy") or "{}")
    found = Service(
        node=owner.node,
        id=identifier,
        name=given.text("Name") or owner.name + _SIDECAR,
        tags=given.texts("Tags") or owner.tags,
        address=given.text("Address") or owner.address,
        port=port,
        meta=meta(given) or owner.meta,
        kind="connect-proxy",
        proxy=json.dumps(target | own, separators=(",", ":")),
    )
    alias = Check(
        node=owner.node,
        id=f"service:{found.id}",
        name="Connect Sidecar Aliasing " + owner.id,
        service_id=found.id,
        type=CheckKind.ALIAS.value,
        probe=Probe(alias_service=owner.id),
        status=Health.PASSING,
    )
    return found, checks_of_service(given, found, scripts=scripts) or (alias,)


def _free_port(taken: Mapping[str, int], identifier: str) -> int:
    """Raises Refused."""
    if (before := taken.get(identifier, 0)) in _SIDECAR_PORTS:
        return before
    used = set(taken.values())
    if port := next((free for free in _SIDECAR_PORTS if free not in used), 0):
        return port
    raise Refused(400, "Invalid SidecarService: none left of the ports 21000 to 21255")
