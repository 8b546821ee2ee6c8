"""Istio's MeshConfig, as users write it: YAML under the key `mesh` of the ConfigMap `istio`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any

from pydantic import ValidationError

from tulle.model.screen import PathLevel
from tulle.resources.core_config_map import ConfigMap
from tulle.resources.paths import folded
from tulle.resources.scalars import NO_TEXTS, Duration, Flag, Port, Text, TextMap, UInt, choice, text_that
from tulle.resources.spec import Spec, problems_of, shown
from tulle.resources.yaml import load

CONFIG_MAP, KEY = "istio", "mesh"


class CheckedBody(Spec):
    """How much of a request's body an authorisation service sees."""

    max_request_bytes: UInt = 0
    allow_partial_message: Flag = False
    pack_as_bytes: Flag = False


def _status(value: str) -> str | None:
    known = value.isascii() and value.isdecimal() and 100 <= int(value) <= 599
    return None if known else f"must be an HTTP status, as text, not {shown(value)}"


Pattern = Annotated[str, text_that(lambda value: None if value else "must not be empty")]


class ExtAuthz(Spec):
    """What both ways of asking have in common."""

    service: Pattern
    """`host`, or `namespace/host`."""
    port: Port
    timeout: Duration = timedelta(seconds=600)
    fail_open: Flag = False
    clear_route_cache: Flag = False
    status_on_error: Annotated[str, text_that(_status)] = "403"
    include_request_body_in_check: CheckedBody | None = None


class ExtAuthzHttp(ExtAuthz):
    path_prefix: Text = ""
    include_headers_in_check: tuple[Pattern, ...] = ()
    include_request_headers_in_check: tuple[Pattern, ...] = ()
    include_additional_headers_in_check: TextMap = NO_TEXTS
    headers_to_upstream_on_allow: tuple[Pattern, ...] = ()
    headers_to_downstream_on_deny: tuple[Pattern, ...] = ()
    headers_to_downstream_on_allow: tuple[Pattern, ...] = ()


class ExtAuthzGrpc(ExtAuthz):
    pass


class Normalization(Enum):
    """Istio's levels, in the order of their numbers."""

    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


_LEVELS = {level: PathLevel.BASE if level is Normalization.DEFAULT else PathLevel(level.value) for level in Normalization}


class PathNormalization(Spec):
    normalization: Annotated[Normalization, choice(Normalization)] = Normalization.DEFAULT


_OTHERS = frozenset(
    """prometheus stackdriver zipkin lightstep datadog skywalking opencensus opentelemetry envoyfileaccesslog envoyhttpals envoytcpals
    envoyotelals sds""".split()  # noqa: SIM905
)
_FIELDS = frozenset(
    """proxylistenport proxyhttpport connecttimeout tcpkeepalive ingressclass ingressservice ingresscontrollermode ingressselector
    enabletracing accesslogfile accesslogformat accesslogencoding enableenvoyaccesslogservice disableenvoylistenerlog defaultconfig
    outboundtrafficpolicy inboundtrafficpolicy configsources trustdomain trustdomainaliases cacertificates defaultserviceexportto
    defaultvirtualserviceexportto defaultdestinationruleexportto rootnamespace localitylbsetting dnsrefreshrate h2upgradepolicy
    inboundclusterstatname outboundclusterstatname enableprometheusmerge defaultproviders discoveryselectors defaulthttpretrypolicy
    defaultinboundhttpretrypolicy meshmtls tlsdefaults enableautomtls verifycertificateatclient certificates protocoldetectiontimeout
    servicesettings servicescopeconfigs hboneidletimeout thriftconfig proxyinboundlistenport ensureselectedsidecar""".split()  # noqa: SIM905
)


class Provider(Spec):
    name: Pattern
    envoy_ext_authz_http: ExtAuthzHttp | None = None
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None

    @property
    def asks(self) -> ExtAuthz | None:
        return self.envoy_ext_authz_http or self.envoy_ext_authz_grpc


Told = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig:
    """`problems` are wrong; `idle` is valid, but not in force. Each is a path inside of the text and a message."""

    providers: tuple[Provider, ...] = ()
    path_level: PathLevel = PathLevel.BASE
    problems: tuple[tuple[str, str], ...] = ()
    idle: tuple[tuple[str, str], ...] = ()


NOTHING = MeshConfig()


@lru_cache(maxsize=16)
def parse(text: str) -> MeshConfig:
    """What a text asks for; of what is wrong nothing is in force."""
    documents = tuple(load(text))
    faults = tuple(("", f"line {f.line}: {f.message}") for d in documents for f in d.faults)
    if faults or len(documents) != 1 or not isinstance(documents[0].value, dict):
        return MeshConfig(problems=faults or (("", "must be a mapping"),))
    return _understood(documents[0].value)


def _understood(value: Mapping[str, Any]) -> MeshConfig:
    providers, idle, problems, level = list[Provider](), Told(), Told(), PathLevel.BASE
    for key, part in value.items():
        if folded(key) == "extensionproviders":
            if not isinstance(part, list):
                problems.append((key, f"must be a list, not {shown(part)}"))
                continue
            for i, item in enumerate(part):
                _provider(f"{key}[{i}]", item, providers, idle, problems)
        elif folded(key) == "pathnormalization":
            level = _path_level(key, part, problems)
        elif folded(key) in _FIELDS:
            idle.append((key, "not in force"))
        else:
            problems.append((key, f'unknown field "{key}"'))
    if problems:
        return MeshConfig(problems=tuple(problems))
    return MeshConfig(providers=tuple(providers), path_level=level, idle=tuple(idle))


def _path_level(place: str, value: Any, problems: Told) -> PathLevel:
    try:
        return _LEVELS[PathNormalization.model_validate(value).normalization]
    except ValidationError as error:
        problems.extend((".".join(map(str, (place, *at))), what) for at, what in problems_of(error))
        return PathLevel.BASE


def _provider(place: str, item: Any, providers: list[Provider], idle: Told, problems: Told) -> None:
    """Those that are for traces, logs and metrics are told to be idle."""
    others = [key for key in item if folded(str(key)) in _OTHERS] if isinstance(item, dict) else []
    if others:
        idle.append((f"{place}.{others[0]}", "not in force"))
        return
    try:
        providers.append(Provider.model_validate(item))
    except ValidationError as error:
        problems.extend((".".join(map(str, (place, *at))), what) for at, what in problems_of(error))


def found_in(kind: str, name: str, spec: object) -> MeshConfig:
    """What a document says of the mesh: something only where it is the ConfigMap for it."""
    if kind == "ConfigMap" and name == CONFIG_MAP and isinstance(spec, ConfigMap) and KEY in spec.data:
        return parse(spec.data[KEY])
    return NOTHING


def placed(found: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Field of the ConfigMap, and message."""
    return ((f"data.{KEY}", f"{path}: {what}" if path else what) for path, what in found)
