"""What a proxy's statistics tell of who calls in plain text."""

from __future__ import annotations

import re

from tulle.agent.plain_text import PATTERN, PlainCaller, PlainCallers
from tulle.model.plain_text import MOST_TOLD


def name(address: str, port: int = 80, what: str = "calls") -> str:
    return f"plain_text.{what}.port.{port}.caller.{address}"


def test_callers_are_told_apart_by_port_and_address() -> None:
    callers = PlainCallers()
    callers.take({name("10.0.0.7"): 2, name("::1"): 1, name("10.0.0.7", 81): 1, "listener.10.0.0.7_80.downstream_cx_total": 9}, "noon")
    assert callers.current == (
        PlainCaller(port=80, address="10.0.0.7", calls=2, last="noon"),
        PlainCaller(port=80, address="::1", calls=1, last="noon"),
        PlainCaller(port=81, address="10.0.0.7", calls=1, last="noon"),
    )


def test_the_last_call_is_when_the_count_last_rose() -> None:
    callers = PlainCallers()
    callers.take({name("10.0.0.7"): 2}, "1")
    callers.take({name("10.0.0.7"): 2, name("10.0.0.8"): 1}, "2")
    assert [(one.address, one.calls, one.last) for one in callers.current] == [("10.0.0.8", 1, "2"), ("10.0.0.7", 2, "1")]


def test_who_is_refused() -> None:
    callers = PlainCallers()
    callers.take({name("10.0.0.7"): 2, name("10.0.0.7", what="refused"): 1}, "1")
    assert callers.current == (PlainCaller(port=80, address="10.0.0.7", calls=2, refused=1, last="1"),)
    callers.take({name("10.0.0.7"): 2, name("10.0.0.7", what="refused"): 3}, "2")
    assert callers.current == (PlainCaller(port=80, address="10.0.0.7", calls=2, refused=3, last="2"),)


def test_whom_the_proxy_forgot_is_remembered() -> None:
    callers = PlainCallers()
    callers.take({name("10.0.0.7"): 2}, "1")
    callers.take({}, "2")
    assert [(one.calls, one.last) for one in callers.current] == [(2, "1")]
    callers.take({name("10.0.0.7"): 2}, "3")
    assert [(one.calls, one.last) for one in callers.current] == [(4, "3")]
    callers.take({name("10.0.0.7"): 1}, "4")
    assert [(one.calls, one.last) for one in callers.current] == [(5, "4")], "it was started again"


def test_only_so_many_are_remembered_the_latest() -> None:
    callers = PlainCallers()
    callers.take({name(f"10.0.{n // 250}.{n % 250}"): 1 for n in range(MOST_TOLD)}, "1")
    callers.take({name("10.9.9.9"): 1}, "2")
    assert len(callers.current) == MOST_TOLD
    assert callers.current[0].address == "10.9.9.9"


def test_what_is_no_address_is_not_told() -> None:
    callers = PlainCallers()
    callers.take({name("-"): 1, name("\x1b[2J"): 1, name("10.0.0.7 "): 1, name("fe80::1%2"): 1}, "noon")
    assert [one.address for one in callers.current] == ["fe80::1%2"]
    assert all(re.search(PATTERN, name(address)) for address in ("::1", "10.0.0.7"))
