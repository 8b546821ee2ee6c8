"""Limits that the data plane has are those of documents, or are raised for them."""

from __future__ import annotations

from support.reading import wrong
from support.views import host, route, route_configuration, table
from tulle.model.routing import DirectResponse


def test_answers_of_any_length() -> None:
    """Envoy refuses a table with a longer answer than 4096 bytes, unless it is told how long one may be."""

    def limit(length: int) -> int:
        answers = route("/", DirectResponse(status=200, body=b"x" * length))
        return int(route_configuration(table("t", host("a", answers), host("b"))).max_direct_response_body_size_bytes.value)

    assert [limit(length) for length in (1, 4096, 4097, 1_000_000)] == [0, 0, 4097, 1_000_000]


def test_regular_expressions_that_become_too_big() -> None:
    rule = "hosts: [a]\nhttp: [{match: [{uri: {regex: '%s'}}], route: [{destination: {host: a}}]}]"
    assert wrong("VirtualService", rule % "[a-z]{200}") == []
    (complaint,) = wrong("VirtualService", rule % r"\pL{400}")
    assert "spec.http[0].match[0].uri.regex: must be simpler: its program has" in complaint
