"""Two control planes, each a datacenter of its own: what names the other is answered by the other."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from support.consul import Consul, running_consul
from tulle.ca.authority import Authority
from tulle.ca.front import Front
from tulle.secure import context_of
from tulle.server.consul.wan import FileRoots, Wan
from tulle.server.tls import ApiContext
from tulle.settings import read_settings


class Both(NamedTuple):
    east: Consul
    west: Consul


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{nobody.getsockname()[1]}"
        of_east, of_west = {"gone": gone}, {}
        folders = [tmp_path_factory.mktemp(name) for name in ("east", "west")]
        with (
            running_consul(folders[0], wan=Wan(own="east", places=of_east)) as east,
            running_consul(folders[1], wan=Wan(own="west", places=of_west), acl="deny") as west,
        ):
            of_east |= {"west": f"127.0.0.1:{west.port}", "mirror": f"127.0.0.1:{east.port}"}
            of_west["east"] = f"127.0.0.1:{east.port}"
            yield Both(east, west)


def test_another_datacenter_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", "west.example")
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority.bundle())
    secure = {"tls": ApiContext.of(Front(authority)), "trusted": context_of(authority.bundle())}
    with running_consul(tmp_path / "west", wan=Wan(own="west"), **secure) as west:
        west.put("/v1/kv/a", b"there")
        for credentials, status in ((FileRoots(str(roots)), 200), (FileRoots(""), 500), (FileRoots("/nowhere"), 500)):
            wan = Wan(own="east", places={"west": west.url}, credentials=credentials)
            with running_consul(tmp_path / f"east{status}", wan=wan) as east:
                answer = east.get("/v1/kv/a?raw&dc=west")
                assert answer.status == status
                assert answer.text == "there" or "cannot be reached" in answer.text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("west=10.1.0.1:8500", "https://10.1.0.1:8500"),
        ("west=http://10.1.0.1:8500", "10.1.0.1:8500"),
        ("west=https://west.example:8500/", "https://west.example:8500"),
        ("west=127.0.0.1:8500", "127.0.0.1:8500"),
    ],
)
def test_beyond_loopback_others_are_asked_over_tls(text: str, place: str) -> None:
    assert read_settings({"TULLE_JOIN_WAN": text}).join_wan == (("west", place),)


TOKEN = {"X-Consul-Token": "5e1f0a8e-0b1d-4a2f-9c55-3a53f0c0ffee"}


@pytest.fixture(scope="module")
def open_west(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Where nobody's access is controlled."""
    of_east: dict[str, str] = {}
    with (
        running_consul(tmp_path_factory.mktemp("east"), wan=Wan(own="east", places=of_east)) as east,
        running_consul(tmp_path_factory.mktemp("west"), wan=Wan(own="west"), acl="off") as west,
    ):
        of_east |= {"west": f"127.0.0.1:{west.port}"}
        for number, status in ((1, "passing"), (2, "critical")):
            check = {"TTL": "10m", "Status": status, "CheckID": f"c{number}"}
            west.put("/v1/agent/service/register", {"Name": "web", "ID": f"w{number}", "Port": number, "Tags": ["v1"], "Check": check})
        yield Both(east, west)


def test_which_there_are(both: Both) -> None:
    assert both.east.get("/v1/catalog/datacenters").json == ["east", "gone", "mirror", "west"]
    assert both.west.get("/v1/catalog/datacenters").json == ["west", "east"]


def test_reads(open_west: Both) -> None:
    east, west = open_west
    for path in ("/v1/catalog/services", "/v1/health/service/web?passing", "/v1/catalog/nodes", "/v1/health/state/any", "/v1/session/list"):
        joint = "&" if "?" in path else "?"
        there, here = east.get(f"{path}{joint}dc=WEST"), west.get(path)
        assert (there.status, there.json, there.index) == (200, here.json, here.index), path
    assert east.get("/v1/catalog/services?dc=east").json == east.get("/v1/catalog/services").json
    assert "web" not in east.get("/v1/catalog/services").json
    assert {service["Datacenter"] for service in east.get("/v1/catalog/service/web?dc=west").json} == {"west"}


def test_writes(open_west: Both) -> None:
    east, west = open_west
    assert east.put("/v1/kv/a/b?dc=west&flags=7", b"there").json is True
    assert (west.get("/v1/kv/a/b?raw").text, east.get("/v1/kv/a/b").status) == ("there", 404)
    assert east.get("/v1/kv/a/b?dc=west").json[0]["Flags"] == 7
    assert east.ask("DELETE", "/v1/kv/a/b?dc=west").json is True
    session = east.put("/v1/session/create?dc=west", {"Name": "s"}).json["ID"]
    assert west.get(f"/v1/session/info/{session}").json[0]["Name"] == "s"
    node = {"Datacenter": "west", "Node": "far", "Address": "10.0.0.9"}
    assert east.put("/v1/catalog/register", node).json is True
    assert "far" in [one["Node"] for one in west.get("/v1/catalog/nodes").json]
    assert east.put("/v1/catalog/deregister", {"Datacenter": "west", "Node": "far"}).json is True
    assert "far" not in [one["Node"] for one in west.get("/v1/catalog/nodes").json]


def test_waiting_for_a_change_there(open_west: Both) -> None:
    east, west = open_west
    index = east.get("/v1/kv/wait?dc=west").index
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(east.get, f"/v1/kv/wait?dc=west&index={index}&wait=20s")
        time.sleep(0.1)  # what comes before the wait would be told too
        assert not waiting.done()
        west.put("/v1/kv/wait", b"x")
        assert waiting.result(60).json[0]["Key"] == "wait"


def test_what_goes_wrong(both: Both) -> None:
    unknown = both.east.get("/v1/catalog/services?dc=mars")
    assert (unknown.status, unknown.text) == (500, "No path to datacenter")
    gone = both.east.get("/v1/catalog/services?dc=gone&index=5")
    assert gone.status == 500
    assert "datacenter gone cannot be reached" in gone.text
    mirror = both.east.get("/v1/catalog/services?dc=mirror")
    assert (mirror.status, "which is not mirror" in mirror.text) == (500, True)


def test_each_decides_who_may_ask_it(both: Both) -> None:
    assert both.east.get("/v1/kv/secret?dc=west").status == 403
    assert both.east.ask("GET", "/v1/kv/secret?dc=west", headers=TOKEN).status == 403
    made = both.west.put("/v1/acl/bootstrap")
    known = {"X-Consul-Token": made.json["SecretID"]}
    assert both.east.ask("PUT", "/v1/kv/secret?dc=west", b"x", known).json is True
    assert both.east.ask("GET", "/v1/kv/secret?dc=west&raw", headers=known).text == "x"
    assert both.east.ask("GET", "/v1/kv/secret", headers=known).status == 403


# Queries that go elsewhere


@pytest.mark.parametrize(
    ("failover", "tags", "answer"),
    [
        ({"Datacenters": ["mars", "west"]}, [], ("west", 1, ["w1"])),
        ({"NearestN": 3}, [], ("west", 1, ["w1"])),
        ({"NearestN": 1, "Datacenters": ["west"]}, [], ("west", 1, ["w1"])),
        ({"Targets": [{"Datacenter": "west"}]}, [], ("west", 1, ["w1"])),
        ({"Datacenters": ["west"]}, ["v2"], ("east", 1, [])),
        ({}, [], ("east", 0, [])),
    ],
)
def test_failover(open_west: Both, failover: dict[str, object], tags: list[str], answer: tuple[str, int, list[str]]) -> None:
    query = {"Service": {"Service": "web", "Failover": failover, "Tags": tags}}
    identifier = open_west.east.ask("POST", "/v1/query", query).json["ID"]
    found = open_west.east.get(f"/v1/query/{identifier}/execute").json
    assert (found["Datacenter"], found["Failovers"], [node["Service"]["ID"] for node in found["Nodes"]]) == answer


def test_no_failover_while_an_instance_is_left(open_west: Both) -> None:
    east = open_west.east
    east.put("/v1/agent/service/register", {"Name": "web", "ID": "e1", "Port": 1})
    identifier = east.ask("POST", "/v1/query", {"Service": {"Service": "web", "Failover": {"Datacenters": ["west"]}}}).json["ID"]
    found = east.get(f"/v1/query/{identifier}/execute").json
    assert (found["Datacenter"], found["Failovers"]) == ("east", 0)
    assert east.get(f"/v1/query/{identifier}/execute?dc=west").status == 404
    east.put("/v1/agent/service/deregister/e1")


def test_a_datacenter_that_is_away_is_passed_over(both: Both) -> None:
    identifier = both.east.ask("POST", "/v1/query", {"Service": {"Service": "web", "Failover": {"Datacenters": ["gone"]}}}).json["ID"]
    found = both.east.get(f"/v1/query/{identifier}/execute").json
    assert (found["Datacenter"], found["Failovers"], found["Nodes"]) == ("east", 1, [])


def test_failover_that_cannot_be(both: Both) -> None:
    for failover in ({"NearestN": -1}, {"Targets": [{"Peer": "x"}]}, {"Targets": [{"Datacenter": "west"}], "NearestN": 1}):
        answer = both.east.ask("POST", "/v1/query", {"Service": {"Service": "web", "Failover": failover}})
        assert answer.status == 400, failover
