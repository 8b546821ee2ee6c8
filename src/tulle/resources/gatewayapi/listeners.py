"""Listeners, as Gateways and ListenerSets declare them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any

from tulle.resources.gatewayapi.types import (
    GROUP,
    Group,
    Hostname,
    KindName,
    LabelSelector,
    ProtocolName,
    SecretReference,
    SectionName,
    items,
    short_text,
)
from tulle.resources.networking.common import taken
from tulle.resources.scalars import NO_TEXTS, Map, Port, choice
from tulle.resources.spec import Problem, Spec


class TlsMode(Enum):
    TERMINATE = "Terminate"
    PASSTHROUGH = "Passthrough"


class ListenerTls(Spec):
    mode: Annotated[TlsMode, choice(TlsMode)] = TlsMode.TERMINATE
    certificate_refs: Annotated[tuple[SecretReference, ...], items(64)] = ()
    options: Map[Annotated[str, short_text(4096)]] = NO_TEXTS

    def check(self) -> Iterable[Problem]:
        if self.mode is TlsMode.TERMINATE and not self.certificate_refs and not self.options:
            yield ("certificate_refs",), "required where mode is Terminate and no options are given"


class RouteFrom(Enum):
    ALL = "All"
    SELECTOR = "Selector"
    SAME = "Same"
    NONE = "None"


class RouteNamespaces(Spec):
    from_: Annotated[RouteFrom, choice(RouteFrom)] = RouteFrom.SAME
    selector: LabelSelector | None = None

    def check(self) -> Iterable[Problem]:
        if self.from_ is RouteFrom.NONE:
            yield ("from_",), "must be one of All, Selector, Same, not 'None'"
        if self.from_ is RouteFrom.SELECTOR and self.selector is None:
            yield ("selector",), "required where from is Selector"


class RouteGroupKind(Spec):
    group: Group = GROUP
    kind: KindName


class AllowedRoutes(Spec):
    namespaces: RouteNamespaces = RouteNamespaces.unsaid()
    kinds: Annotated[tuple[RouteGroupKind, ...], items(8)] = ()


class Listener(Spec):
    name: SectionName
    hostname: Hostname | None = None
    port: Port
    protocol: ProtocolName
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes.unsaid()

    @classmethod
    def shape(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        yield from super().shape(given)
        tls = given.get("tls")
        if given.get("protocol") == "TLS" and isinstance(tls, Mapping) and not tls.get("mode"):
            yield ("tls", "mode"), "required where protocol is TLS"

    def check(self) -> Iterable[Problem]:
        if self.protocol in ("HTTP", "TCP", "UDP") and self.tls:
            yield ("tls",), f"must not be set where protocol is {self.protocol}"
        if self.protocol == "HTTPS" and self.tls and self.tls.mode is not TlsMode.TERMINATE:
            yield ("tls", "mode"), "must be Terminate where protocol is HTTPS"
        if self.protocol == "TLS" and self.tls is None:
            yield ("tls",), "required where protocol is TLS"
        if self.protocol in ("TCP", "UDP") and self.hostname:
            yield ("hostname",), f"must not be set where protocol is {self.protocol}"


def listener_problems(listeners: Sequence[Listener]) -> Iterator[Problem]:
    """Names stand once, and so does each port with its protocol and host."""
    yield from taken("listeners", "name", (listener.name for listener in listeners))
    seen: set[tuple[object, ...]] = set()
    for index, listener in enumerate(listeners):
        place = (listener.port, listener.protocol, listener.hostname)
        if place in seen:
            yield ("listeners", index), "has port, protocol and hostname of an earlier listener"
        seen.add(place)


Listeners = Annotated[tuple[Listener, ...], items(64, 1)]
