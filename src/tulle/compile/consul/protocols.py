"""What services speak, as service-defaults and proxy-defaults say: they go before what instances say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tulle.compile.consul.entries import GLOBAL
from tulle.compile.kinds import Kinds
from tulle.compile.memo import Memo
from tulle.model.resource import Key, Resource
from tulle.model.service import Protocol, RegisteredPort, Registration
from tulle.resources.consul import ProxyDefaults, ServiceDefaults

_PROTOCOLS = {"tcp": Protocol.TCP, "http": Protocol.HTTP, "http2": Protocol.HTTP2, "grpc": Protocol.GRPC}
_WEB, _WEB_NAME = 80, "web"
"""The port at which callers reach an HTTP service of Consul's API whatever ports its instances have."""


@dataclass(frozen=True, slots=True)
class Spoken:
    by_service: Mapping[tuple[str, str], Protocol] = field(default_factory=dict)
    """By namespace and name."""
    all: Protocol | None = None

    def of(self, registration: Registration) -> Protocol | None:
        return self.by_service.get((registration.namespace, registration.service), self.all)


def spoken(kinds: Kinds, memo: Memo) -> Spoken:
    services, proxies = kinds.of(ServiceDefaults), kinds.of(ProxyDefaults)
    return memo.get(("spoken",), (services, proxies), lambda: _spoken(services, proxies))


def _spoken(services: Mapping[Key, Resource[ServiceDefaults]], proxies: Mapping[Key, Resource[ProxyDefaults]]) -> Spoken:
    own = {(key.namespace, key.name): r.spec.protocol.lower() for key, r in services.items() if r.spec.protocol}
    everyone = next((r.spec.protocol for key, r in proxies.items() if key.name == GLOBAL and r.spec.protocol), "")
    return Spoken({place: _PROTOCOLS[name] for place, name in own.items()}, _PROTOCOLS.get(everyone))


def changed(registration: Registration, before: Spoken, after: Spoken) -> bool:
    return before.of(registration) is not after.of(registration)


def speaking(registration: Registration, said: Spoken) -> Registration:
    """The registration with what it speaks on its TCP ports."""
    protocol = said.of(registration)
    if protocol is None:
        return registration
    own = [p for p in registration.ports if not _is_alias(p)]
    ports = [p if p.protocol is Protocol.UDP else replace(p, protocol=protocol) for p in own]
    aliased = protocol.is_http and len(own) < len(registration.ports)
    alias = [replace(p, protocol=protocol) for p in registration.ports if _is_alias(p)] if aliased else []
    return replace(registration, ports=(*alias, *ports))


def _is_alias(port: RegisteredPort) -> bool:
    return port.number == _WEB and port.name == _WEB_NAME and port.target != _WEB
