"""What annotations of a Gateway say: Istio's `proxy.istio.io/config`, and Tulle's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import Annotated

from pydantic import ValidationError

from tulle.resources.scalars import UInt, choice
from tulle.resources.spec import Spec, problems_of, shown
from tulle.resources.yaml import load

PROXY_CONFIG = "proxy.istio.io/config"
HTTP3 = "tulle.dev/http3"
"""Whether callers may come by HTTP/3, too."""
ORIGINAL_SOURCE = "tulle.dev/original-source"
"""Whether endpoints see the caller's own address."""


class ForwardCertificate(Enum):
    """What becomes of a caller's `x-forwarded-client-cert` header."""

    UNDEFINED = "UNDEFINED"
    SANITIZE = "SANITIZE"
    FORWARD_ONLY = "FORWARD_ONLY"
    APPEND_FORWARD = "APPEND_FORWARD"
    SANITIZE_SET = "SANITIZE_SET"
    ALWAYS_FORWARD_ONLY = "ALWAYS_FORWARD_ONLY"


class ProxyProtocolTopology(Spec):
    """Empty: that it stands there says that callers speak the PROXY protocol."""


class Topology(Spec):
    """What stands between the callers and a gateway."""

    num_trusted_proxies: UInt = 0
    proxy_protocol: ProxyProtocolTopology | None = None
    forward_client_cert_details: Annotated[ForwardCertificate, choice(ForwardCertificate)] = ForwardCertificate.UNDEFINED


NO_TOPOLOGY = Topology.unsaid()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAnnotation:
    """`problems` are wrong; `idle` is valid, but not in force. Each is a path inside of the annotation and a message."""

    topology: Topology = NO_TOPOLOGY
    problems: tuple[tuple[str, str], ...] = ()
    idle: tuple[tuple[str, str], ...] = ()


_NOTHING = ProxyAnnotation()


def proxy_annotation(annotations: Mapping[str, str]) -> ProxyAnnotation:
    """What the annotation asks for; of what is wrong nothing is in force."""
    text = annotations.get(PROXY_CONFIG)
    return _parsed(text) if text else _NOTHING


@lru_cache(maxsize=256)
def _parsed(text: str) -> ProxyAnnotation:
    documents = tuple(load(text))
    faults = tuple(("", f.message) for d in documents for f in d.faults)
    if faults or len(documents) != 1:
        return ProxyAnnotation(problems=faults or (("", "must be one YAML document"),))
    value = documents[0].value
    if not isinstance(value, dict):
        return ProxyAnnotation(problems=(("", f"must be a mapping, not {shown(value)}"),))
    idle = tuple((str(key), "not in force") for key in value if key != "gatewayTopology")
    try:
        topology = Topology.model_validate(value.get("gatewayTopology") or {})
    except ValidationError as error:
        return ProxyAnnotation(problems=tuple((".".join(map(str, ("gatewayTopology", *at))), what) for at, what in problems_of(error)))
    return ProxyAnnotation(topology=topology, idle=idle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """`true`, `false`, or `true` with a number that says more."""

    on: bool = False
    number: int = 0


_OFF, _ON = Switch(), Switch(on=True)


def http3(annotations: Mapping[str, str]) -> Switch:
    """Whether HTTPS servers speak HTTP/3, too; `number` is the port that callers are told of, 0 for the one that is bound."""
    return _switch(annotations.get(HTTP3, "")) or _OFF


def original_source(annotations: Mapping[str, str]) -> Switch:
    """Whether endpoints see the caller's address; `number` is the mark that the packets to them bear, 0 for none."""
    return _switch(annotations.get(ORIGINAL_SOURCE, "")) or _OFF


def _switch(text: str) -> Switch | None:
    """None for what is no switch."""
    if text in ("", "false"):
        return _OFF
    if text == "true":
        return _ON
    return Switch(on=True, number=int(text)) if text.isascii() and text.isdecimal() and int(text) else None


_SWITCHES = {
    HTTP3: (65535, "the port that callers are told of"),
    ORIGINAL_SOURCE: (2**32 - 1, "the mark of the packets to endpoints"),
}


def _wrong_switches(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, (limit, what) in _SWITCHES.items():
        text = annotations.get(name, "")
        found = _switch(text)
        if found is None or found.number > limit:
            yield f"metadata.annotations.{name}", f'must be "true", "false" or {what} (1 to {limit}), not {shown(text)}'


def found_in(kind: str, annotations: Mapping[str, str]) -> tuple[Iterator[tuple[str, str]], Iterator[tuple[str, str]]]:
    """What is wrong with a document's annotations, and what of them is not in force: field and message."""
    if kind.partition(".")[0] != "Gateway":
        return iter(()), iter(())
    known = proxy_annotation(annotations)
    return chain(_placed(known.problems), _wrong_switches(annotations)), _placed(known.idle)


def _placed(found: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    for path, what in found:
        yield f"metadata.annotations.{PROXY_CONFIG}", f"{path}: {what}" if path else what
