"""Gateways of this API in the words of Istio's: one server for each listener that can be served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tulle.compile.gatewayapi.documents import Documents
from tulle.compile.gatewayapi.listener_tls import Ended, ended
from tulle.compile.gatewayapi.listeners import Section, Sections
from tulle.compile.memo import Memo
from tulle.model.frozen import FrozenMap
from tulle.model.resource import Resource
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

    @property
    def id(self) -> str:
        """By which rules are bound to it."""
        return cast("Section", self.section).id


def as_gateway(known: Sections, documents: Documents, memo: Memo) -> Resource[Servers]:
    """The same object as before, if nothing in it changed."""
    parts = tuple((section, ended(section, documents)) for section in known.all if section.usable)
    return memo.get(("gateway api servers", known.gateway.key), (known, parts), partial(_made, known, parts))


def _made(known: Sections, parts: tuple[tuple[Section, Ended | None], ...]) -> Resource[Servers]:
    servers = tuple(server for section, tls in parts for server in _servers(section, tls))
    spec = Servers.model_construct(servers=servers, selector=FrozenMap())
    return replace(cast("Resource[Any]", known.gateway), spec=spec)


def _servers(section: Section, tls: Ended | None) -> Iterator[Server]:
    """One for each address that the Gateway asks for; without any, the proxy's own address."""
    wanted: list[str | None] = [a.value for a in section.gateway.spec.addresses if a.type == "IPAddress" and a.value]
    for address in wanted or [None]:
        yield ListenerServer.model_construct(
            port=ServerPort.model_construct(number=section.spec.port, protocol=section.spec.protocol, name=_port_name(section)),
            hosts=(section.hostname,),
            bind=address,
            tls=_mode(section),
            name=section.spec.name,
            section=section,
            ended=tls,
        )


def _mode(section: Section) -> ServerTls | None:
    if section.spec.protocol not in ("HTTPS", "TLS"):
        return None
    passed = section.spec.tls and section.spec.tls.mode is TlsMode.PASSTHROUGH
    return ServerTls.model_construct(mode=ServerTlsMode.PASSTHROUGH if passed else ServerTlsMode.SIMPLE)


def _port_name(section: Section) -> str:
    """No other server of a Gateway of the same name has it: names of route tables are made of it."""
    owner = () if section.owner is section.gateway else (section.owner.key.namespace, section.owner.key.name)
    return ".".join((section.spec.name, *owner, "listener"))


def picks(gateway: Resource[Servers], labels: FrozenMap[str, str]) -> bool:
    """Whether a Gateway of this API is for a proxy with these labels."""
    return labels.get(NAME_LABEL, gateway.key.name) == gateway.key.name
