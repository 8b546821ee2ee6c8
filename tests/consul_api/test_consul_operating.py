"""Transactions on the catalog, coordinates and nearness, and what operators ask of an agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.consul import Consul, running_consul

VEC = [0.0] * 8


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    with running_consul(tmp_path) as running:
        yield running


def node(verb: str, name: str, **more: object) -> object:
    return {"Node": {"Verb": verb, "Node": {"Node": name, "Address": "10.0.0.1", **more}}}


def service(verb: str, on: str, name: str, **more: object) -> object:
    return {"Service": {"Verb": verb, "Node": on, "Service": {"Service": name, "Port": 80, **more}}}


def check(verb: str, on: str, identifier: str, **more: object) -> object:
    return {"Check": {"Verb": verb, "Check": {"Node": on, "CheckID": identifier, "Name": identifier, "Status": "passing", **more}}}


def test_a_node_its_service_and_its_check_enter_together(consul: Consul) -> None:
    ops = [node("set", "far"), service("set", "far", "db"), check("set", "far", "up", ServiceID="db"), {"KV": {"Verb": "set", "Key": "k"}}]
    done = consul.put("/v1/txn", ops)
    assert (done.status, done.json["Errors"]) == (200, None)
    assert [next(iter(result)) for result in done.json["Results"]] == ["Node", "Service", "Check", "KV"]
    assert [r["ServiceName"] for r in consul.get("/v1/health/checks/db").json] == ["db"]
    read = consul.put("/v1/txn", [node("get", "far"), service("get", "far", "", ID="db"), check("get", "far", "up")]).json["Results"]
    assert [read[0]["Node"]["Node"], read[1]["Service"]["ID"], read[2]["Check"]["CheckID"]] == ["far", "db", "up"]
    assert consul.put("/v1/txn", [check("delete", "far", "up"), service("delete", "far", "db")]).json["Errors"] is None
    assert consul.get("/v1/catalog/service/db").json == []
    assert consul.put("/v1/txn", [node("delete", "far")]).json == {"Results": [], "Errors": None}
    assert consul.get("/v1/catalog/node/far").json is None


def test_all_or_nothing(consul: Consul) -> None:
    failed = consul.put("/v1/txn", [node("set", "far"), service("set", "nowhere", "db")])
    assert failed.status == 409
    assert failed.json == {"Results": None, "Errors": [{"OpIndex": 1, "What": "node 'nowhere' is not there"}]}
    assert consul.get("/v1/catalog/node/far").json is None


def test_compare_and_set_of_nodes(consul: Consul) -> None:
    consul.put("/v1/txn", [node("set", "far")])
    index = consul.put("/v1/txn", [node("get", "far")]).json["Results"][0]["Node"]["ModifyIndex"]
    stale = consul.put("/v1/txn", [node("cas", "far", ModifyIndex=index + 9, Meta={"a": "b"})])
    assert (stale.status, stale.json["Errors"][0]["What"]) == (409, "failed to set node 'far', index is stale")
    assert consul.put("/v1/txn", [node("cas", "far", ModifyIndex=index, Meta={"a": "b"})]).status == 200
    assert consul.put("/v1/txn", [node("delete-cas", "far", ModifyIndex=index)]).status == 409


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (node("eat", "far"), "unknown operation 'eat'"),
        ({"Node": {"Verb": "set", "Node": {"Node": "x"}}}, "Must provide node and address"),
        ({"Service": {"Verb": "set", "Service": {"Service": "x"}}}, "Missing node name"),
        ({"Moon": {}}, "an operation must be on KV, Node, Service or Check"),
    ],
)
def test_operations_that_cannot_be(consul: Consul, op: object, text: str) -> None:
    answer = consul.put("/v1/txn", [op])
    assert (answer.status, answer.text) == (400, text)


def place(consul: Consul, name: str, seconds: float) -> None:
    consul.put("/v1/catalog/register", {"Node": name, "Address": "10.0.0.1", "Service": {"Service": "web"}})
    coordinate = {"Vec": [seconds, *VEC[1:]], "Error": 0.1, "Adjustment": 0, "Height": 0.00001}
    assert consul.put("/v1/coordinate/update", {"Node": name, "Coord": coordinate}).status == 200


def test_the_nearest_come_first(consul: Consul) -> None:
    for name, seconds in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        place(consul, name, seconds)
    consul.put("/v1/catalog/register", {"Node": "lost", "Address": "10.0.0.1", "Service": {"Service": "web"}})
    assert [n["Node"] for n in consul.get("/v1/catalog/service/web").json] == ["a", "b", "c", "lost"]
    assert [n["Node"] for n in consul.get("/v1/catalog/service/web?near=_agent").json] == ["b", "c", "a", "lost"]
    assert [n["Node"]["Node"] for n in consul.get("/v1/health/service/web?near=a").json] == ["a", "c", "b", "lost"]
    assert [n["Node"] for n in consul.get("/v1/catalog/nodes?near=n1").json] == ["n1", "b", "c", "a", "lost"]
    place(consul, "a", 0.015)
    assert [n["Node"] for n in consul.get("/v1/catalog/service/web?near=_agent").json] == ["a", "b", "c", "lost"]
    assert [n["Node"] for n in consul.get("/v1/catalog/service/web?near=nobody").json] == ["a", "b", "c", "lost"]
    query = consul.ask("POST", "/v1/query", {"Name": "near", "Service": {"Service": "web", "Near": "_agent"}}).json["ID"]
    found = consul.get(f"/v1/query/{query}/execute").json["Nodes"]
    assert [entry["Node"]["Node"] for entry in found] == ["a", "b", "c", "lost"]
    other_way = consul.get(f"/v1/query/{query}/execute?near=b").json["Nodes"]
    assert [entry["Node"]["Node"] for entry in other_way] == ["b", "a", "c", "lost"]


def test_coordinates_are_kept_until_their_node_goes(consul: Consul) -> None:
    place(consul, "a", 0.3)
    shown = consul.get("/v1/coordinate/node/a").json
    assert shown == [{"Node": "a", "Segment": "", "Coord": {"Vec": [0.3, *VEC[1:]], "Error": 0.1, "Adjustment": 0.0, "Height": 0.00001}}]
    assert [c["Node"] for c in consul.get("/v1/coordinate/nodes").json] == ["a", "n1"]
    (datacenter,) = consul.get("/v1/coordinate/datacenters").json
    assert set(datacenter) == {"Datacenter", "AreaID", "Coordinates"}
    consul.put("/v1/catalog/deregister", {"Node": "a"})
    assert consul.get("/v1/coordinate/node/a").status == 404
    assert consul.put("/v1/coordinate/update", {"Node": "ghost", "Coord": {"Vec": VEC}}).status == 200
    assert consul.get("/v1/coordinate/node/ghost").status == 404
    for coordinate in ({"Vec": [1]}, {"Vec": ["a"] * 8}, {"Vec": VEC, "Height": "x"}, {}):
        assert consul.put("/v1/coordinate/update", {"Node": "n1", "Coord": coordinate}).status == 400


def test_metrics(consul: Consul) -> None:
    told = consul.get("/v1/agent/metrics").json
    assert set(told) == {"Timestamp", "Gauges", "Points", "Counters", "Samples"}
    assert {"Name", "Count", "Rate", "Sum", "Min", "Max", "Mean", "Stddev", "Labels"} == set(told["Counters"][0])
    assert any(counter["Name"] == "tulle_http_requests_total" for counter in told["Counters"])
    text = consul.get("/v1/agent/metrics?format=prometheus")
    assert text.headers["content-type"].startswith("text/plain")
    assert "# TYPE tulle_http_requests_total counter" in text.text


def test_the_machine_and_the_server(consul: Consul) -> None:
    host = consul.get("/v1/agent/host").json
    assert set(host) == {"Memory", "CPU", "Host", "Disk", "CollectionTime", "Errors"}
    assert host["Memory"]["total"] > host["Memory"]["available"] > 0
    raft = consul.get("/v1/operator/raft/configuration").json
    assert raft["Index"] == 0
    (server,) = raft["Servers"]
    assert (server["Leader"], server["Voter"], server["Node"]) == (True, True, "n1")
    assert server["Address"] == consul.get("/v1/status/leader").json
    version = consul.get("/v1/agent/version").json
    assert version["HumanVersion"] == consul.get("/v1/agent/self").json["Config"]["Version"]
    assert set(consul.get("/v1/agent/self").json["Coord"]) == {"Vec", "Error", "Adjustment", "Height"}


def test_members_are_sent_away(consul: Consul) -> None:
    consul.put("/v1/catalog/register", {"Node": "far", "Address": "10.0.0.1"})
    assert consul.put("/v1/agent/force-leave/far").body == b""
    assert consul.get("/v1/catalog/node/far").json is None
    for name in ("far", "n1"):
        gone = consul.put(f"/v1/agent/force-leave/{name}")
        assert (gone.status, gone.text) == (500, f"agent: No node found with name '{name}'")
    assert consul.put("/v1/agent/join/127.0.0.1").status == 200
    assert consul.put("/v1/agent/join/10.9.9.9").text.startswith("1 error occurred: Failed to join 10.9.9.9")
    assert consul.put("/v1/agent/reload").status == 200
    assert consul.get("/v1/agent/monitor?loglevel=moon").text == "Unknown log level: moon"


def test_an_agent_uses_the_token_that_it_was_given(tmp_path: Path) -> None:
    with running_consul(tmp_path, acl="deny") as consul:
        root = consul.put("/v1/acl/bootstrap").json["SecretID"]
        assert consul.get("/v1/catalog/services").json == {}
        assert consul.put("/v1/agent/token/default", {"Token": root}).status == 403
        assert consul.as_(root, "PUT", "/v1/agent/token/default", {"Token": root}).status == 200
        assert json.loads(consul.get("/v1/catalog/services").body) == {"consul": []}
        unknown = consul.as_(root, "PUT", "/v1/agent/token/moon", {"Token": root})
        assert (unknown.status, unknown.text) == (404, 'Token "moon" is unknown')
    (tmp_path / "off").mkdir()
    with running_consul(tmp_path / "off", acl="off") as consul:
        assert consul.put("/v1/agent/token/default", {"Token": "x"}).text == "ACL support disabled"
