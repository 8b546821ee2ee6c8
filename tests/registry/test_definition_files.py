"""Definition files: what they say, what is wrong with them, and that the catalog follows them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.agent_calls import call
from support.consul import Consul, running_consul
from support.eventually import eventually
from support.running import Place, running
from tulle.model.service import Health
from tulle.registry.catalog import CheckKind
from tulle.server.consul.defining import Definitions, OwnCatalog
from tulle.server.consul.definitions import DefinitionError, Values, read

HCL = """
# the shop's front
service {
  id   = "web-1"
  name = "web"
  port = 8080
  tags = ["v1", "blue"]
  meta = { team = "shop" }
  tagged_addresses {
    lan {
      address = "10.0.0.1"
      port    = 80
    }
  }
  weights = { passing = 5, warning = 1 }
  check {
    http     = "http://127.0.0.1:8080/health"
    interval = "10s"
  }
}
services {
  name = "db"
  checks = [{ tcp = "127.0.0.1:5432", interval = "10s" }, { ttl = "30s", status = "passing" }]
}
services {
  name = "cache"
}
check {
  id = "disk"
  name = "disk"
  notes = <<-EOF
    first
      second
  EOF
  args = ["/bin/true"]
  interval = "1m"
}
"""
JSON = """{
\t"Services": [
\t\t{"ID": "web-1", "Name": "web", "Port": 8080, "Check": {"HTTP": "http://127.0.0.1:8080/health", "Interval": "10s"}},
\t\t{"name": "db", "checks": [{"tcp": "127.0.0.1:5432", "interval": "10s"}, {"TTL": "30s", "Status": "passing"}]}
\t]
}"""


def values(name: str, text: str, *, scripts: bool = True) -> list[Values]:
    definitions, _ = read(name, text, "n1", scripts=scripts)
    return [value for definition in definitions for value in definition.values("n1", set, scripts=scripts)]


def test_hcl() -> None:
    web, db, cache, disk = values("a.hcl", HCL)
    assert web.service
    assert (web.service.id, web.service.port, web.service.tags, web.service.passing_weight) == ("web-1", 8080, ("v1", "blue"), 5)
    assert (dict(web.service.meta), web.service.tagged_addresses["lan"].port) == ({"team": "shop"}, 80)
    assert [(check.id, check.probe.http) for check in web.checks] == [("service:web-1", "http://127.0.0.1:8080/health")]
    assert [(check.id, check.probe.kind, check.status) for check in db.checks] == [
        ("service:db:1", CheckKind.TCP, Health.CRITICAL),
        ("service:db:2", CheckKind.TTL, Health.PASSING),
    ]
    assert cache.checks == ()
    assert (disk.checks[0].probe.args, disk.checks[0].notes, disk.service) == (("/bin/true",), "first\n  second\n", None)


def test_json_in_both_spellings() -> None:
    web, db = values("a.json", JSON)
    from_hcl = values("a.hcl", HCL)
    assert web.checks[0] == from_hcl[0].checks[0]
    assert [check.probe for check in db.checks] == [check.probe for check in from_hcl[1].checks]


WRONG = [
    ("a.json", '{\n "service": {"port": 1}}', "a.json:2: Missing service name"),
    ("a.json", '{"services": [\n{"name": "a"},\n{"name": "b",\n "prot": 1}]}', r"a.json:4: services\[1\]: unknown field 'prot'"),
    (
        "a.json",
        '{"services": [\n{"name": "a",\n"checks": [{"htttp": ""}]}]}',
        r"a.json:3: services\[0\].checks\[0\]: unknown field 'htttp'",
    ),
    ("a.json", '{"service": {\n"name": ]', "a.json:2: is no JSON: Expecting value"),
    ("a.json", '{"service": 4}', "a.json:1: service must be an object"),
    ("a.json", "[]", "a.json:1: must be an object with service"),
    ("a.json", "[" * 100_000, "a.json:1: is nested too deeply"),
    ("a.json", '{"service": {"name": "x", "port": "80"}}', "a.json:1: Request decode failed: Port must be a whole number"),
    ("a.json", '{"check": {"name": "x", "args": ["a"], "interval": "1s"}}', "a.json:1: Scripts are disabled"),
    ("a.json", '{"check": {"name": "x", "interval": "1s"}}', "a.json:1: Invalid check: Interval is set"),
    ("a.hcl", 'service {\n  name = "a"\n}\nservice {\n  port = 4\n}\n', "a.hcl:4: Missing service name"),
    ("a.hcl", "service {\n  name = \n}\n", "a.hcl:2: is no HCL"),
    ("a.hcl", 'service {\n  name = "a"\n', "a.hcl: is no HCL|a.hcl:[0-9]+: is no HCL"),
]


@pytest.mark.parametrize(("name", "text", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_line(name: str, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read(name, text, "n1", scripts=False)


def test_what_else_agents_are_told_in_such_files_is_not_passed_over_in_silence() -> None:
    assert read("a.json", '{\n"datacenter": "east"}', "n1", scripts=False) == (
        (),
        ("a.json:2: datacenter: not in force: only service, services, check and checks are read from definition files",),
    )


FIELDS = "service services check checks name id port tags meta weights interval ttl connect http args sidecar_service proxy Notes"
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6) | st.sampled_from(["10s", "web"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS.split()), inner, max_size=5),
    max_leaves=12,
)
PARTS = ("service {\n", "services {\n", "check {\n", "}\n", 'name = "a"\n', "port = 1\n", "x = [", "]\n", "<<E\n", "E\n", '"', "${", "}")
HCL_PARTS = st.lists(st.sampled_from(PARTS), max_size=12)


@given(st.builds(json.dumps, TREES) | st.text(max_size=20))
def test_any_json_is_read_or_refused_with_a_line(text: str) -> None:
    with suppress(DefinitionError):
        read("a.json", text, "n1", scripts=True)


@settings(deadline=None, max_examples=50)
@given(st.builds("".join, HCL_PARTS))
def test_any_hcl_is_read_or_refused_with_a_line(text: str) -> None:
    with suppress(DefinitionError):
        read("a.hcl", text, "n1", scripts=True)


# A directory


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    with running_consul(tmp_path) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "definitions"
    path.mkdir()
    return path


def write(folder: Path, name: str, *services: object) -> None:
    (folder / name).write_text(json.dumps({"services": services}))


def definitions(consul: Consul, folder: Path, *, scripts: bool = False) -> Definitions:
    return Definitions(folder, OwnCatalog(consul.registry, scripts=scripts), "n1", scripts=scripts)


def names(consul: Consul) -> dict[str, int]:
    return {identifier: service["Port"] for identifier, service in consul.get("/v1/agent/services").json.items()}


def test_the_catalog_follows(consul: Consul, folder: Path) -> None:
    followed = definitions(consul, folder)
    consul.put("/v1/agent/service/register", {"Name": "by-hand", "Port": 9})
    write(folder, "a.json", {"name": "web", "port": 1, "check": {"ttl": "10m", "status": "passing"}}, {"name": "db", "port": 2})
    write(folder, "b.json", {"name": "db", "port": 3})
    (folder / "c.txt").write_text("no definition")
    assert consul.call(followed.reload()) == ()
    assert names(consul) == {"by-hand": 9, "web": 1, "db": 3}, "later files go before earlier ones"
    before = consul.get("/v1/catalog/services").index
    assert consul.call(followed.reload()) == ()
    assert consul.get("/v1/catalog/services").index == before, "what stays the same changes nothing"
    consul.put("/v1/agent/check/fail/service:web")
    consul.put("/v1/agent/service/maintenance/web?enable=true")
    write(folder, "a.json", {"name": "web", "port": 5, "check": {"ttl": "10m", "status": "passing"}})
    (folder / "b.json").unlink()
    assert consul.call(followed.reload()) == ()
    assert names(consul) == {"by-hand": 9, "web": 5}
    checks = consul.get("/v1/agent/checks").json
    assert {c: checks[c]["Status"] for c in checks} == {"service:web": "critical", "_service_maintenance:web": "critical"}
    write(folder, "a.json", {"name": "web", "port": 5})
    consul.call(followed.reload())
    assert set(consul.get("/v1/agent/checks").json) == {"_service_maintenance:web"}
    (folder / "a.json").unlink()
    consul.call(followed.reload())
    assert (names(consul), consul.get("/v1/agent/checks").json) == ({"by-hand": 9}, {})


def test_a_bad_file_changes_nothing_and_the_others_go_on(consul: Consul, folder: Path) -> None:
    followed = definitions(consul, folder)
    write(folder, "a.json", {"name": "web", "port": 1})
    consul.call(followed.reload())
    (folder / "a.json").write_text('{"services": [')
    write(folder, "b.json", {"name": "db", "port": 2})
    (problem,) = consul.call(followed.reload())
    assert problem.startswith(f"{folder / 'a.json'}:1: is no JSON")
    assert names(consul) == {"web": 1, "db": 2}
    again = definitions(consul, folder)
    assert len(consul.call(again.reload())) == 1
    assert names(consul) == {"web": 1, "db": 2}, "an agent that starts with a bad file takes nothing out"
    write(folder, "a.json")
    assert consul.call(again.reload()) == ()
    assert names(consul) == {"db": 2}


def test_what_was_removed_while_the_agent_was_away(consul: Consul, folder: Path) -> None:
    write(folder, "a.json", {"name": "web", "port": 1}, {"name": "db", "port": 2})
    consul.call(definitions(consul, folder).reload())
    write(folder, "a.json", {"name": "db", "port": 2})
    consul.call(definitions(consul, folder).reload())
    assert names(consul) == {"db": 2}


def test_a_check_of_a_service_that_is_not_there(consul: Consul, folder: Path) -> None:
    (folder / "a.json").write_text('{\n"check": {"name": "c", "ttl": "1m", "service_id": "nobody"}, "service": {"name": "web", "port": 1}}')
    assert consul.call(definitions(consul, folder).reload()) == (f'{folder / "a.json"}:2: ServiceID "nobody" does not exist',)
    assert names(consul) == {"web": 1}
    (folder / "a.json").write_text('{"check": {"name": "c", "ttl": "1m", "service_id": "web"}, "service": {"name": "web", "port": 1}}')
    assert consul.call(definitions(consul, folder).reload()) == ()
    assert consul.get("/v1/health/checks/web").json[0]["CheckID"] == "c"


def test_sidecars_keep_their_ports(consul: Consul, folder: Path) -> None:
    write(folder, "a.json", {"name": "a", "port": 1, "connect": {"sidecar_service": {}}}, {"name": "b", "connect": {"sidecar_service": {}}})
    followed = definitions(consul, folder)
    for _ in range(2):
        assert consul.call(followed.reload()) == ()
        assert names(consul) == {"a": 1, "a-sidecar-proxy": 21000, "b": 0, "b-sidecar-proxy": 21001}


def test_no_directory(consul: Consul, tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="--config-dir"):
        definitions(consul, tmp_path / "nowhere")


def test_a_control_plane_follows_its_directory(tmp_path: Path, folder: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        write(folder, "a.json", {"name": "web", "port": 1})
        (folder / "b.hcl").write_text('check {\n  name = "ok"\n  args = ["/bin/true"]\n  interval = "1s"\n}\n')
        environment = place.environment | {"TULLE_ENABLE_LOCAL_SCRIPT_CHECKS": "true"}
        async with running(place, "control", "--config-dir", str(folder), environment=environment) as control:
            await place.until("/v1/agent/services", lambda found: set(found) == {"web"})
            await place.until("/v1/agent/checks", lambda found: found.get("ok", {}).get("Status") == "passing")
            refused, said = await call(place, "PUT", "/v1/agent/check/register", {"Name": "x", "Args": ["/bin/true"], "Interval": "1s"})
            assert (refused, "Scripts are disabled" in said) == (400, True)
            write(folder, "a.json", {"name": "shop", "port": 2})
            await place.until("/v1/agent/services", lambda found: set(found) == {"shop"})
            (folder / "a.json").write_text("{")
            assert (await call(place, "PUT", "/v1/agent/reload"))[0] == 200
            assert set(await place.get("/v1/agent/services")) == {"shop"}
            await eventually(lambda: "a.json:1: is no JSON" in control.log.read_text())

    asyncio.run(main())
