"""Gateway: the ports, protocols and hosts that the gateway proxies with the labels of `selector` serve."""

from __future__ import annotations

from tulle.resources.names import IpOrUnix, LabelMap, ScopedHost
from tulle.resources.networking.common import ServerPort
from tulle.resources.networking.tls import ServerTls
from tulle.resources.scalars import NO_TEXTS, Text
from tulle.resources.spec import Spec


class Server(Spec):
    port: ServerPort
    hosts: tuple[ScopedHost, ...]
    bind: IpOrUnix | None = None
    tls: ServerTls | None = None
    name: Text | None = None
    default_endpoint: Text | None = None


class Gateway(Spec):
    servers: tuple[Server, ...] = ()
    selector: LabelMap = NO_TEXTS
