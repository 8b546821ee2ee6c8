"""The commands about instances and checks, against a real registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.consul import Consul, running_consul

PROGRAM = str(Path(sys.executable).with_name("tulle"))


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split() for line in self.out.splitlines()]


DB = """
services {
  name = "db"
  id = "db/1"
}
services {
  name = "db2"
}
check {
  name = "c"
  ttl = "1m"
}
"""
Tulle = Callable[..., Ended]


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul")) as running:
        yield running


@pytest.fixture
def tulle(consul: Consul, tmp_path: Path) -> Tulle:
    environment = {**os.environ, "TULLE_SERVER": f"http://127.0.0.1:{consul.port}", "COLUMNS": "120"}

    def run(*words: str) -> Ended:
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def test_register_from_options_and_from_files(tulle: Tulle, consul: Consul, tmp_path: Path) -> None:
    words = ["-name=web", "-port=8080", "-tag=v1", "--tag", "blue", "-meta=team=shop", "--check-ttl", "10m"]
    done = tulle("services", "register", *words)
    assert (done.code, done.out, done.err) == (0, "web registered\n", "")
    web = consul.get("/v1/agent/service/web").json
    assert (web["Port"], web["Tags"], web["Meta"]) == (8080, ["v1", "blue"], {"team": "shop"})
    (tmp_path / "db.hcl").write_text(DB)
    assert tulle("services", "register", "db.hcl").out == "db/1 registered\ndb2 registered\nc registered\n"
    assert consul.get("/v1/agent/checks").json["c"]["Type"] == "ttl"
    assert tulle("services", "deregister", "web", "db.hcl").out == "web deregistered\ndb/1 deregistered\ndb2 deregistered\n"
    assert consul.get("/v1/agent/services").json == {}
    consul.put("/v1/agent/check/deregister/c")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("services", "register"), 2, "give definition files, or --name"),
        (("services", "register", "--name", "a", "b.hcl"), 2, "give definition files, or --name"),
        (("services", "register", "nowhere.json"), 2, "nowhere.json: No such file"),
        (("services", "register", "bad.json"), 1, "bad.json:2: Missing service name"),
        (("services", "register", "--name", "a", "--meta", "b"), 2, "'b' is not KEY=VALUE"),
        (("services", "register", "--name", "a", "--check-tcp", "b:1", "--check-ttl", "1s"), 2, "give one of them"),
        (("services", "register", "--name", "a", "--check-ttl", "soon"), 2, "TTL: time: invalid duration"),
        (("services", "deregister", "nobody"), 1, 'Unknown service ID "nobody"'),
        (("maint", "--enable", "--disable"), 2, "give one of them"),
        (("maint", "--enable", "--service", "nobody"), 1, 'Unknown service ID "nobody"'),
        (("maint", "--reason", "x"), 2, "give --enable"),
        (("services", "deregister", "x", "--server", "127.0.0.1:1"), 2, "no control plane answers at"),
    ],
)
def test_what_cannot_be_done(tulle: Tulle, tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    (tmp_path / "bad.json").write_text('{\n"service": {"port": 1}}')
    done = tulle(*words)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_maintenance(tulle: Tulle, consul: Consul) -> None:
    consul.put("/v1/agent/service/register", {"Name": "web", "Port": 1})
    assert "nothing is in maintenance" in tulle("maint").err
    assert tulle("maint", "--enable", "--service", "web", "--reason", "new disk").out == "web is in maintenance\n"
    assert tulle("maint", "-enable").out == "the machine is in maintenance\n"
    shown = tulle("maint")
    assert shown.rows[0] == ["NODE", "SERVICE", "SINCE", "REASON"]
    assert [(row[0], row[1]) for row in shown.rows[1:]] == [("n1", "-"), ("n1", "web")]
    assert "new disk" in shown.out
    assert consul.get("/v1/health/service/web?passing").json == []
    assert tulle("maint", "--disable").out == "the machine is out of maintenance\n"
    assert tulle("maint", "--disable", "--service", "web").code == 0
    assert len(consul.get("/v1/health/service/web?passing").json) == 1
    tulle("services", "deregister", "web")


def test_checks(tulle: Tulle, consul: Consul) -> None:
    consul.put("/v1/agent/service/register", {"Name": "web", "Port": 1, "Check": {"TTL": "10m"}})
    consul.put("/v1/agent/check/fail/service:web?note=disk+full")
    shown = tulle("checks").rows
    assert shown[0] == ["STATE", "SINCE", "NODE", "SERVICE", "CHECK", "OUTPUT"]
    assert [row[:1] + row[2:] for row in shown[1:]] == [
        ["passing", "n1", "-", "serfHealth", "Agent", "alive", "and", "reachable"],
        ["critical", "n1", "web", "service:web", "disk", "full"],
    ]
    (check,) = json.loads(tulle("checks", "web", "-o", "json").out)
    assert (check["state"], check["output"], check["serviceId"], check["node"]) == ("critical", "disk full", "web", "n1")
    failed = check["since"]
    consul.put("/v1/agent/check/fail/service:web?note=still+full")
    (check,) = json.loads(tulle("checks", "web", "--state", "critical", "-o", "json").out)
    assert (check["since"], check["output"]) == (failed, "still full")
    consul.put("/v1/agent/check/pass/service:web")
    assert "no checks" in tulle("checks", "web", "--state", "critical").err
    assert "no checks" in tulle("checks", "--node", "elsewhere").err
    assert tulle("checks", "--state", "odd").code == 2
    tulle("services", "deregister", "web")


def test_since_is_when_the_state_changed(consul: Consul) -> None:
    times = iter(range(1000, 2000))
    consul.registry.now = lambda: float(next(times))
    consul.put("/v1/agent/check/register", {"Name": "c", "TTL": "10m"})
    key = ("n1", "c")
    first = consul.registry.since[key]
    consul.put("/v1/agent/check/fail/c?note=x")
    assert consul.registry.since[key] == first
    consul.put("/v1/agent/check/pass/c")
    assert consul.registry.since[key] > first
    consul.put("/v1/agent/check/deregister/c")
    assert key not in consul.registry.since
