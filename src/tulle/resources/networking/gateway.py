"""Gateway: the ports, protocols and hosts that the gateway proxies with the labels of `selector` serve."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.resources.names import IpOrUnix, LabelMap, ScopedHost, whole_labels
from tulle.resources.networking.common import HTTP_PROTOCOLS, ServerPort, taken
from tulle.resources.networking.tls import ServerTls, ServerTlsMode
from tulle.resources.scalars import NO_TEXTS, Text
from tulle.resources.spec import Problem, Spec


class Server(Spec):
    port: ServerPort
    hosts: tuple[ScopedHost, ...]
    bind: IpOrUnix | None = None
    tls: ServerTls | None = None
    name: Text | None = None
    default_endpoint: Text | None = None

    def check(self) -> Iterable[Problem]:
        if not self.hosts:
            yield ("hosts",), "must have at least one item"
        protocol = self.port.protocol.upper()
        if protocol in ("HTTPS", "TLS"):
            if self.tls is None:
                yield ("tls",), f"required where the protocol is {protocol}"
            elif self.tls.mode is not ServerTlsMode.AUTO_PASSTHROUGH:
                found = ((index, whole_labels(host.rpartition("/")[2])) for index, host in enumerate(self.hosts))
                yield from ((("hosts", index), why) for index, why in found if why)
        elif self.tls is not None and protocol not in HTTP_PROTOCOLS:
            yield ("tls",), f"must not be set where the protocol is {protocol}"
        elif self.tls is not None and (self.tls.mode not in _PASSING or self.tls.has_files):
            yield ("tls",), f"takes only httpsRedirect where the protocol is {protocol}"


_PASSING = (ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH)


class Gateway(Spec):
    servers: tuple[Server, ...] = ()
    selector: LabelMap = NO_TEXTS

    def check(self) -> Iterable[Problem]:
        if not self.servers:
            yield ("servers",), "must have at least one item"
        yield from taken("servers", "name", (server.name for server in self.servers))
        for (_, index, _), what in taken("servers", "port", (server.port.name for server in self.servers)):
            yield ("servers", index, "port", "name"), what
