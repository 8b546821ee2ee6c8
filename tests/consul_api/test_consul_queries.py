"""Consul's prepared queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.consul import Consul, running_consul


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    with running_consul(tmp_path) as running:
        for number, status, tag in ((1, "passing", "a"), (2, "warning", "b"), (3, "critical", "a")):
            check = {"TTL": "10m", "Status": status, "CheckID": f"c{number}"}
            service = {"Name": "web", "ID": f"web-{number}", "Tags": [tag], "Meta": {"number": str(number)}, "Check": check}
            running.put("/v1/agent/service/register", service)
        yield running


def _made(consul: Consul, **query: object) -> str:
    answer = consul.ask("POST", "/v1/query", query)
    assert answer.status == 200, answer.text
    return str(answer.json["ID"])


def _executed(consul: Consul, name: str) -> list[str]:
    return sorted(node["Service"]["ID"] for node in consul.get(f"/v1/query/{name}/execute").json["Nodes"])


@pytest.mark.parametrize(
    ("service", "found"),
    [
        ({}, ["web-1", "web-2"]),
        ({"OnlyPassing": True}, ["web-1"]),
        ({"IgnoreCheckIDs": ["c3"]}, ["web-1", "web-2", "web-3"]),
        ({"Tags": ["a"]}, ["web-1"]),
        ({"Tags": ["!a"]}, ["web-2"]),
        ({"ServiceMeta": {"number": "2"}}, ["web-2"]),
        ({"NodeMeta": {"rack": "none"}}, []),
    ],
    ids=str,
)
def test_what_a_query_finds(consul: Consul, service: dict[str, object], found: list[str]) -> None:
    identifier = _made(consul, Name="q", Service={"Service": "web", **service}, DNS={"TTL": "10s"})
    assert _executed(consul, identifier) == _executed(consul, "q") == found
    answer = consul.get("/v1/query/q/execute").json
    assert (answer["Service"], answer["DNS"], answer["Datacenter"], answer["Failovers"]) == ("web", {"TTL": "10s"}, "dc1", 0)


def test_templates(consul: Consul) -> None:
    template = {"Type": "name_prefix_match", "Regexp": "^find-(.*)$"}
    _made(consul, Name="", Template={"Type": "name_prefix_match"}, Service={"Service": "${name.full}"})
    _made(consul, Name="find-", Template=template, Service={"Service": "${match(1)}", "Tags": ["${name.prefix}"]})
    assert _executed(consul, "web") == ["web-1", "web-2"]
    explained = consul.get("/v1/query/find-web/explain").json["Query"]["Service"]
    assert (explained["Service"], explained["Tags"]) == ("web", ["find-"])


def test_a_query_is_kept_changed_and_removed(consul: Consul) -> None:
    identifier = _made(consul, Name="q", Service={"Service": "web"})
    assert [query["Name"] for query in consul.get("/v1/query").json] == ["q"]
    assert consul.put(f"/v1/query/{identifier}", {"Name": "r", "Service": {"Service": "web"}}).status == 200
    assert consul.get(f"/v1/query/{identifier}").json[0]["Name"] == "r"
    assert consul.ask("DELETE", f"/v1/query/{identifier}").status == 200
    assert consul.get(f"/v1/query/{identifier}").status == 404
    assert consul.get("/v1/query/r/execute").text == "Query not found"


def test_what_cannot_be_kept(consul: Consul) -> None:
    _made(consul, Name="q", Service={"Service": "web"})
    wrong = (
        ({"Name": "q", "Service": {"Service": "web"}}, 500),
        ({"Name": "x"}, 400),
        ({"Name": "x", "Service": {"Service": "web"}, "Template": {"Type": "odd"}}, 400),
        ({"Name": "x", "Service": {"Service": "web"}, "Template": {"Type": "name_prefix_match", "Regexp": "("}}, 400),
        ({"Name": "x", "Service": {"Service": "web"}, "Session": "none"}, 500),
    )
    assert [consul.ask("POST", "/v1/query", query).status for query, _ in wrong] == [status for _, status in wrong]


def test_a_query_goes_with_its_session(consul: Consul) -> None:
    session = consul.put("/v1/session/create").json["ID"]
    identifier = _made(consul, Session=session, Service={"Service": "web"})
    consul.put(f"/v1/session/destroy/{session}")
    assert consul.get(f"/v1/query/{identifier}").status == 404
