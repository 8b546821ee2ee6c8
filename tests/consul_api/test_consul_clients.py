"""A client of Consul that many programs use, unchanged: py-consul."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import consul as py_consul
import pytest

from support.consul import Consul, running_consul


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Consul]:
    with running_consul(tmp_path) as running:
        yield running


@pytest.fixture
def client(server: Consul) -> Iterator[py_consul.Consul]:
    with py_consul.Consul(host="127.0.0.1", port=server.port) as made:
        yield made


def test_services_and_checks(server: Consul, client: py_consul.Consul) -> None:
    assert client.agent.services() == {}
    assert client.agent.service.register("foo", service_id="foo:1", port=80, tags=["t"], check=py_consul.Check.ttl("10s"))
    assert list(client.agent.services()) == ["foo:1"]
    assert list(client.agent.checks()) == ["service:foo:1"]
    assert client.health.service("foo", passing=True)[1] == []
    assert client.agent.check.ttl_pass("service:foo:1", notes="well")
    index, nodes = client.health.service("foo", passing=True, tag="t")
    assert [node["Service"]["ID"] for node in nodes] == ["foo:1"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.health.service, "foo", index=index, wait="20s", passing=True)
        server.put("/v1/agent/service/maintenance/foo:1?enable=true")
        assert waiting.result(10)[1] == []
    assert client.agent.service.deregister("foo:1")
    assert client.agent.checks() == {}


def test_the_catalog(client: py_consul.Consul) -> None:
    service = {"service": "db", "id": "db-1", "port": 5432}
    assert client.catalog.register("far", "10.0.0.1", service=service, check={"name": "up", "serviceid": "db-1", "status": "passing"})
    assert {node["Node"] for node in client.catalog.nodes()[1]} == {"far", "n1"}
    assert client.catalog.services()[1] == {"consul": [], "db": []}
    assert client.catalog.node("none")[1] is None
    assert [check["CheckID"] for check in client.health.checks("db")[1]] == ["up"]
    assert client.catalog.deregister("far")
    assert client.catalog.service("db")[1] == []
    with pytest.raises(py_consul.ConsulException):
        client.catalog.nodes(dc="mars")
    assert client.status.leader() == client.agent.self()["Stats"]["consul"]["leader_addr"]


def test_values_locks_and_transactions(client: py_consul.Consul) -> None:
    assert client.kv.get("none")[1] is None
    assert client.kv.put("k", "v", flags=5)
    entry = client.kv.get("k")[1]
    assert (entry["Value"], entry["Flags"]) == (b"v", 5)
    assert client.kv.put("k", "w", cas=entry["ModifyIndex"] - 1) is False
    assert client.kv.put("k", "w", cas=entry["ModifyIndex"])
    session = client.session.create("me", ttl=10, lock_delay=0)
    assert client.kv.put("k", "mine", acquire=session)
    assert client.kv.get("k")[1]["Session"] == session
    assert client.session.renew(session)["ID"] == session
    assert client.session.destroy(session)
    assert "Session" not in client.kv.get("k")[1]
    done = client.txn.put([{"KV": {"Verb": "set", "Key": "t", "Value": "dg=="}}, {"KV": {"Verb": "get", "Key": "t"}}])
    assert done["Errors"] is None
    assert client.kv.get("", keys=True)[1] == ["k", "t"]
    assert client.event.fire("hello", body="x")
    assert [event["Name"] for event in client.event.list()[1]] == ["hello"]
    assert client.kv.delete("", recurse=True)
