"""What a proxy's event log leaves ejected."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tulle.agent.admin import Admin
from tulle.agent.ejections import Ejected, Ejections, ejected_hosts
from tulle.agent.reporter import Reporter

WEB = "outbound|80||web.default.svc.cluster.local"


def event(action: str = "EJECT", address: str = "10.0.0.1:80", **more: object) -> str:
    said = {"cluster_name": WEB, "upstream_url": address, "action": action, "enforced": True, "timestamp": "2026-11-21T06:00:00Z"}
    return json.dumps({"type": "CONSECUTIVE_GATEWAY_FAILURE", **said, **more})


def test_out_and_in_again() -> None:
    ejections = Ejections()
    ejections.take(event())
    ejections.take(event(address="[2001:db8::1]:81", type="SUCCESS_RATE"))
    assert list(ejections.current.values()) == [
        Ejected(cluster=WEB, address="10.0.0.1", port=80, reason="consecutive gateway failure", since="2026-11-21T06:00:00Z"),
        Ejected(cluster=WEB, address="2001:db8::1", port=81, reason="success rate", since="2026-11-21T06:00:00Z"),
    ]
    ejections.take(event("UNEJECT"))
    assert [ejected.port for ejected in ejections.current.values()] == [81]


def test_what_was_only_detected_is_not_out() -> None:
    ejections = Ejections()
    ejections.take(event(enforced=False))
    ejections.take(event("UNEJECT", "10.0.0.9:1"))
    assert ejections.current == {}


@given(st.text() | st.builds(json.dumps, st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_no_line_harms(line: str) -> None:
    ejections = Ejections()
    ejections.take(line)
    assert ejections.current == {}


def test_what_the_proxy_has_no_more_is_forgotten() -> None:
    ejections = Ejections()
    ejections.take(event())
    ejections.take(event(address="10.0.0.2:80"))
    host = {"address": {"socket_address": {"address": "10.0.0.2", "port_value": 80}}, "health_status": {"failed_outlier_check": True}}
    healthy = {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}, "health_status": {"eds_health_status": "HEALTHY"}}
    ejections.keep(ejected_hosts({"cluster_statuses": [{"name": WEB, "host_statuses": [host, healthy]}, {"name": "empty"}]}))
    assert [ejected.address for ejected in ejections.current.values()] == ["10.0.0.2"]


def test_the_log_is_read_by_whole_lines_and_begins_anew_when_it_is_large(tmp_path: Path) -> None:
    log = tmp_path / "ejections.log"
    reporter = Reporter(api="", id="a", node="", address="", admin=Admin(""), log=log, dice=Random(1))
    reporter._follow()
    line = event() + "\n"
    log.write_text(line[:20])
    reporter._follow()
    assert json.loads(reporter._body())["ejected"] == []
    log.write_text(line + event(address="10.0.0.2:80"))
    reporter._follow()
    assert [ejected["address"] for ejected in json.loads(reporter._body())["ejected"]] == ["10.0.0.1"]
    with log.open("a") as file:
        file.write("\n" + "x" * 5_000_000 + "\n")
    reporter._follow()
    assert log.stat().st_size == 0
    with log.open("a") as file:
        file.write(event("UNEJECT") + "\n")
    reporter._follow()
    assert [ejected["address"] for ejected in json.loads(reporter._body())["ejected"]] == ["10.0.0.2"]
