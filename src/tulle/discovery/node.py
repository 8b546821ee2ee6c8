"""How a proxy says who it is: a `Node` as Envoy's node metadata, and back.

All of it stands under one key, `tulle`, so that other metadata may stand beside it:

    {"tulle": {"role": "sidecar", "namespace": "default", "labels": {"app": "reviews"}, "inbound": [{"service_port": 9080, ...}]}}

What a Node leaves at its default is left out. Numbers come back as floats (Envoy's metadata is a `google.protobuf.Struct`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from tulle.model.identity import Labels, Locality
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.service import Protocol

KEY = "tulle"
T = TypeVar("T")
E = TypeVar("E", bound=Enum)
REQUIRED: Any = object()


def to_metadata(node: Node) -> dict[str, Any]:
    """What goes into the `metadata` of Envoy's node; id, locality and service (as `cluster`) have fields of their own there."""
    words, plain = _words(node), _words(Node(id="", role=node.role))
    said = {key: value for key, value in words.items() if value != plain[key]}
    return {KEY: {"role": node.role.value, "service": node.service, **said}}


def from_envoy(id_: str, cluster: str, locality: Locality, metadata: Mapping[str, Any]) -> Node:
    """The Node that an Envoy's node id, cluster, locality and metadata tell of; `cluster` stands in for a service that is not named.

    Raises ValueError, with the place in the metadata, for what is missing, unknown, or of the wrong kind.
    """
    if not id_:
        raise ValueError("node.id: is empty; every proxy needs one of its own")
    if KEY not in metadata:
        raise ValueError(f"node.metadata.{KEY}: is missing; it says what node {id_!r} is (role, namespace, labels, ports)")
    plain = Node(id=id_, role=Role.SIDECAR)
    reader = _Reader(metadata[KEY], f"node.metadata.{KEY}")
    node = Node(
        id=id_,
        role=reader.enum("role", Role),
        namespace=reader.text("namespace", plain.namespace),
        labels=reader.take("labels", _labels, plain.labels),
        service=reader.text("service", cluster),
        service_account=reader.text("service_account", plain.service_account),
        instance=reader.text("instance", plain.instance),
        ip=reader.text("ip", plain.ip),
        locality=locality,
        inbound=reader.several("inbound", _inbound),
        http_proxy=reader.take("http_proxy", _address, None),
        upstreams=reader.several("upstreams", _upstream),
        privileged_ports=reader.take("privileged_ports", _flag, plain.privileged_ports),
        transparent=reader.take("transparent", _flag, plain.transparent),
        bind=reader.text("bind", plain.bind),
    )
    reader.finish()
    return node


def _words(node: Node) -> dict[str, Any]:
    return {
        "namespace": node.namespace,
        "labels": dict(node.labels),
        "service": node.service,
        "service_account": node.service_account,
        "instance": node.instance,
        "ip": node.ip,
        "inbound": [
            {
                "service_port": port.service_port,
                "listen": port.listen,
                "target": port.target,
                "protocol": port.protocol.value,
                "listen_address": port.listen_address,
                "target_address": port.target_address,
            }
            for port in node.inbound
        ],
        "http_proxy": {"address": node.http_proxy[0], "port": node.http_proxy[1]} if node.http_proxy else None,
        "upstreams": [_upstream_words(u) for u in node.upstreams],
        "privileged_ports": node.privileged_ports,
        "transparent": node.transparent,
        "bind": node.bind,
    }


def _upstream_words(of: Upstream) -> dict[str, Any]:
    words = {"host": of.host, "port": of.port, "bind": of.bind, "bind_port": of.bind_port}
    return words | {"udp": True} if of.udp else words


class _Reader:
    """Takes the fields of one object, and complains of those that nobody took."""

    def __init__(self, value: object, at: str) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{at}: must be an object, not {value!r}")  # noqa: TRY004  what clients send is a value
        self._left, self._at = dict(value), at

    def take(self, key: str, read: Callable[[Any, str], T], default: T = REQUIRED) -> T:
        at = f"{self._at}.{key}"
        if key in self._left:
            return read(self._left.pop(key), at)
        if default is REQUIRED:
            raise ValueError(f"{at}: is missing")
        return default

    def text(self, key: str, default: str = REQUIRED) -> str:
        return self.take(key, _text, default)

    def number(self, key: str) -> int:
        return self.take(key, _port)

    def enum(self, key: str, kind: type[E], default: E = REQUIRED) -> E:
        return self.take(key, lambda value, at: _one_of(kind, value, at), default)

    def several(self, key: str, read: Callable[[Any, str], T]) -> tuple[T, ...]:
        return self.take(key, lambda value, at: tuple(read(item, f"{at}[{i}]") for i, item in enumerate(_list(value, at))), ())

    def finish(self) -> None:
        if self._left:
            raise ValueError(f"{self._at}.{min(self._left)}: is not known here; run the same version of Tulle on proxies and control plane")


def _inbound(value: object, at: str) -> InboundPort:
    reader = _Reader(value, at)
    port = InboundPort(
        service_port=reader.number("service_port"),
        listen=reader.number("listen"),
        target=reader.number("target"),
        protocol=reader.enum("protocol", Protocol, Protocol.HTTP),
        listen_address=reader.text("listen_address", "127.0.0.1"),
        target_address=reader.text("target_address", "127.0.0.1"),
    )
    reader.finish()
    return port


def _upstream(value: object, at: str) -> Upstream:
    reader = _Reader(value, at)
    upstream = Upstream(
        host=reader.text("host"),
        port=reader.number("port"),
        bind=reader.text("bind", "127.0.0.1"),
        bind_port=reader.number("bind_port"),
        udp=reader.take("udp", _flag, False),
    )
    reader.finish()
    return upstream


def _address(value: object, at: str) -> tuple[str, int] | None:
    if value is None:
        return None
    reader = _Reader(value, at)
    address = reader.text("address"), reader.number("port")
    reader.finish()
    return address


def _labels(value: object, at: str) -> Labels:
    if not isinstance(value, Mapping):
        raise ValueError(f"{at}: must be an object, not {value!r}")  # noqa: TRY004
    return Labels({str(key): _text(text, f"{at}.{key}") for key, text in value.items()})


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{at}: must be a text, not {value!r}")  # noqa: TRY004
    return value


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{at}: must be true or false, not {value!r}")  # noqa: TRY004
    return value


def _list(value: object, at: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{at}: must be a list, not {value!r}")  # noqa: TRY004
    return value


def _port(value: object, at: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 65535 or value % 1:
        raise ValueError(f"{at}: must be a port number, not {value!r}")
    return int(value)


def _one_of(kind: type[E], value: object, at: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{at}: must be one of {', '.join(str(e.value) for e in kind)}, not {value!r}") from None
