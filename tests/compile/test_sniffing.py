"""Ports of which nobody says what is spoken, in each mode of mutual TLS (BEHAVIOURS 16)."""

from __future__ import annotations

import pytest

from support.compiled import built
from support.meshed import DISABLE, PERMISSIVE, STRICT, opened, registered, sidecar
from tulle.compile import view
from tulle.model.proxy import HttpConnections
from tulle.model.service import Protocol

HTTP, REQUESTS = ("http/1.0", "http/1.1", "h2c"), ("istio-http/1.0", "istio-http/1.1", "istio-h2")
BYTES = ("istio-peer-exchange", "istio")


def chains(text: str) -> list[tuple[str, tuple[str, ...], bool, bool]]:
    """Of each: transport, protocols, whether TLS is ended, and whether requests are looked at."""
    node = sidecar("any", opened(80, 20001, protocol=Protocol.AUTO))
    (found,) = view(built(text, registered(node)).mesh, node).listeners
    assert found.looks_for_http == any(chain.application_protocols == HTTP for chain in found.chains)
    return [(c.transport_protocol, c.application_protocols, bool(c.tls), isinstance(c.serve, HttpConnections)) for c in found.chains]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            PERMISSIVE,
            [
                ("tls", REQUESTS, True, True),
                ("raw_buffer", HTTP, False, True),
                ("tls", BYTES, True, False),
                ("raw_buffer", (), False, False),
                ("tls", (), False, False),
            ],
        ),
        (STRICT, [("tls", REQUESTS, True, True), ("tls", (), True, False)]),
        (DISABLE, [("raw_buffer", HTTP, False, True), ("raw_buffer", (), False, False), ("tls", (), False, False)]),
    ],
)
def test_what_takes_what(mode: str, expected: list[tuple[str, tuple[str, ...], bool, bool]]) -> None:
    assert chains(mode) == expected
