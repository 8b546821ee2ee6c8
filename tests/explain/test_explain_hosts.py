"""The virtual host: exact, then the longest suffix wildcard, then the longest prefix wildcard, then any."""

from __future__ import annotations

import pytest

from support.views import host, table
from tulle.compile.explain.hosts import NAMED, find, without_port

TABLE = table("t", *(host(d) for d in ("*", "a.*", "a.b.*", "*.c", "*.b.c", "a.b.c", "x.y:80", "*-v1.c")))


@pytest.mark.parametrize(
    ("authority", "domain"),
    [
        ("a.b.c", "a.b.c"),
        ("A.B.C", "a.b.c"),
        ("z.b.c", "*.b.c"),
        ("a.c", "*.c"),
        (".c", "*"),
        ("w-v1.c", "*-v1.c"),
        ("a.b.d", "a.b.*"),
        ("a.d", "a.*"),
        ("a.", "*"),
        ("a.b.c:80", "a.b.*"),
        ("x.y:80", "x.y:80"),
        ("x.y", "*"),
        ("", "*"),
    ],
)
def test_precedence(authority: str, domain: str) -> None:
    found = find(TABLE, authority).host
    assert found
    assert found.name == domain


def test_ports_can_be_ignored() -> None:
    ported = table("t", host("a.b.c"), ignore_port_in_host=True)
    assert find(ported, "a.b.c:8080").host
    assert not find(table("t", host("a.b.c")), "a.b.c:8080").host


@pytest.mark.parametrize(
    ("authority", "name"), [("a:1", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:1:2", "a:1"), ("a:", "a")]
)
def test_without_port(authority: str, name: str) -> None:
    assert without_port(authority) == name


def test_losers_are_told() -> None:
    steps = find(TABLE, "a.b.c").steps
    assert steps[-1].matched
    assert steps[-1].why == '"a.b.c" is the host asked for'
    lost = {step.rule: step.why for step in steps[:-1]}
    assert lost["virtual host *"] == '"*" fits, but "a.b.c" is more specific'
    assert lost["virtual host *.c"] == '"*.c" fits, but "a.b.c" is more specific'
    assert lost["virtual host x.y:80"] == 'none of its hosts (x.y:80) is "a.b.c"'


def test_a_crowd_is_told_in_one_step() -> None:
    crowd = table("t", host("*"), *(host(f"h{n}") for n in range(NAMED + 2)))
    steps = find(crowd, "x").steps
    assert [step.rule for step in steps] == [f"{NAMED + 2} other virtual hosts", "virtual host *"]
    assert steps[0].why.startswith('none of their hosts is "x": h0, h1,')
    assert steps[0].why.endswith("h9 and 2 more")
