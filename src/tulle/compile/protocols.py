"""What is spoken on a port, from its name or `appProtocol` (BEHAVIOURS 14)."""

from __future__ import annotations

from tulle.model.service import Protocol

_NAMES = {
    "http": Protocol.HTTP,
    "http_proxy": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.GRPC_WEB,
    "https": Protocol.HTTPS,
    "tls": Protocol.TLS,
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "mongo": Protocol.MONGO,
    "redis": Protocol.REDIS,
    "mysql": Protocol.MYSQL,
}
_APP_PROTOCOLS = {"kubernetes.io/h2c": Protocol.HTTP2, "kubernetes.io/ws": Protocol.HTTP, "kubernetes.io/wss": Protocol.HTTPS}
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})
"""Ports of protocols in which the server speaks first: looking at the client's bytes would wait for ever."""


def named(text: str) -> Protocol | None:
    """The protocol that a word or a prefix `<protocol>-...` names, in any case."""
    word = text.lower()
    if word in _NAMES:
        return _NAMES[word]
    if word.startswith("grpc-web-"):
        return Protocol.GRPC_WEB
    return _NAMES.get(word.partition("-")[0])


def of_port(number: int, name: str = "", app_protocol: str = "", transport: str = "TCP") -> Protocol:
    """The protocol of a port of a core Service."""
    if transport.upper() == "UDP":
        return Protocol.UDP
    said = _APP_PROTOCOLS.get(app_protocol.lower()) or named(app_protocol) or named(name)
    return said or (Protocol.TCP if number in _SERVER_FIRST else Protocol.AUTO)
