"""Gateways of this API in the words of Istio's: one server for each listener that can be served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tulle.compile.gatewayapi.attach import Attachment, told_apart
from tulle.compile.gatewayapi.documents import Documents
from tulle.compile.gatewayapi.listener_tls import Ended, ended
from tulle.compile.gatewayapi.listeners import Section, Sections
from tulle.compile.memo import Memo
from tulle.model.frozen import FrozenMap
from tulle.model.resource import Key, Resource
from tulle.resources.gatewayapi.listeners import TlsMode
from tulle.resources.networking.common import ServerPort
from tulle.resources.networking.gateway import Gateway as Servers
from tulle.resources.networking.gateway import Server
from tulle.resources.networking.tls import ServerTls, ServerTlsMode

NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
"""The label of a proxy that serves only the Gateways of that name. Proxies without it serve all."""


class ListenerServer(Server):
    """A server that stands for a listener."""

    section: Any
    ended: Any
    """An `Ended` where TLS is ended."""
    id: str
    """By which rules are bound to it."""
    others: tuple[str, ...] = ()
    """The hosts of the other HTTPS listeners of its port."""


def as_gateway(known: Sections, by_section: Mapping[str, Mapping[Key, Attachment]], documents: Documents, memo: Memo) -> Resource[Servers]:
    """The same object as before, if nothing in it changed."""
    parts = tuple((s, ended(s, documents), _hosts(s, by_section.get(s.id, {}).values())) for s in known.all if s.usable)
    return memo.get(("gateway api servers", known.gateway.key), (known, parts), partial(_made, known, parts))


def _hosts(section: Section, found: Iterable[Attachment]) -> tuple[str, ...]:
    """The hosts that are servers of their own; none where the listener is one server."""
    return tuple(told_apart(section, found)) if section.ends_connections else ()


Part = tuple[Section, Ended | None, tuple[str, ...]]


def _made(known: Sections, parts: tuple[Part, ...]) -> Resource[Servers]:
    servers = tuple(
        server
        for section, tls, hosts in parts
        for host in hosts or ("",)
        for server in _servers(section, tls, host, _others(section, parts))
    )
    spec = Servers.model_construct(servers=servers, selector=FrozenMap())
    return replace(cast("Resource[Any]", known.gateway), spec=spec)


def _others(section: Section, parts: tuple[Part, ...]) -> tuple[str, ...]:
    if section.spec.protocol != "HTTPS":
        return ()
    return tuple(s.hostname for s, _, _ in parts if s is not section and (s.spec.port, s.spec.protocol) == (section.spec.port, "HTTPS"))


def _servers(section: Section, tls: Ended | None, host: str, others: tuple[str, ...]) -> Iterator[Server]:
    """One for each address that the Gateway asks for; without any, the proxy's own address."""
    wanted: list[str | None] = [a.value for a in section.gateway.spec.addresses if a.type == "IPAddress" and a.value]
    for address in wanted or [None]:
        yield ListenerServer.model_construct(
            port=ServerPort.model_construct(number=section.spec.port, protocol=section.spec.protocol, name=_port_name(section, host)),
            hosts=(host or section.hostname,),
            bind=address,
            tls=_mode(section),
            name=section.spec.name,
            section=section,
            ended=tls,
            id=section.bound(host) if host else section.id,
            others=others,
        )


def _mode(section: Section) -> ServerTls | None:
    if section.spec.protocol not in ("HTTPS", "TLS"):
        return None
    passed = section.spec.tls and section.spec.tls.mode is TlsMode.PASSTHROUGH
    return ServerTls.model_construct(mode=ServerTlsMode.PASSTHROUGH if passed else ServerTlsMode.SIMPLE)


def _port_name(section: Section, host: str) -> str:
    """No other server of a Gateway of the same name has it: names of route tables are made of it."""
    owner = () if section.owner is section.gateway else (section.owner.key.namespace, section.owner.key.name)
    return ".".join((section.spec.name, *owner, "listener", *((host,) if host else ())))


def picks(gateway: Resource[Servers], labels: FrozenMap[str, str]) -> bool:
    """Whether a Gateway of this API is for a proxy with these labels."""
    return labels.get(NAME_LABEL, gateway.key.name) == gateway.key.name
