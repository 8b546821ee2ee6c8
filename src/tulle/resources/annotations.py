"""What annotations of documents say: Istio's `proxy.istio.io/config`, on a Gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Annotated

from pydantic import ValidationError

from tulle.resources.scalars import UInt, choice
from tulle.resources.spec import Spec, problems_of, shown
from tulle.resources.yaml import load

PROXY_CONFIG = "proxy.istio.io/config"


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


NO_TOPOLOGY = Topology()


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


def found_in(kind: str, annotations: Mapping[str, str]) -> tuple[Iterator[tuple[str, str]], Iterator[tuple[str, str]]]:
    """What is wrong with a document's annotations, and what of them is not in force: field and message."""
    known = proxy_annotation(annotations) if kind == "Gateway" else _NOTHING
    return _placed(known.problems), _placed(known.idle)


def _placed(found: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    for path, what in found:
        yield f"metadata.annotations.{PROXY_CONFIG}", f"{path}: {what}" if path else what
