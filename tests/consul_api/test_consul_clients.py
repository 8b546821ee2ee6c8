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
    assert client.agent.service.register("foo", service_id="foo:1", port=80, tags=["t"], check=py_consul.Check.ttl("10m"))
    assert list(client.agent.services()) == ["foo:1"]
    assert list(client.agent.checks()) == ["service:foo:1"]
    assert client.health.service("foo", passing=True)[1] == []
    assert client.agent.check.ttl_pass("service:foo:1", notes="well")
    index, nodes = client.health.service("foo", passing=True, tag="t")
    assert [node["Service"]["ID"] for node in nodes] == ["foo:1"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.health.service, "foo", index=index, wait="20s", passing=True)
        server.put("/v1/agent/service/maintenance/foo:1?enable=true")
        assert waiting.result(60)[1] == []
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
    session = client.session.create("me", ttl=600, lock_delay=0)
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


def test_tokens_policies_and_roles(server: Consul, client: py_consul.Consul) -> None:
    with pytest.raises(py_consul.ACLPermissionDenied):
        client.acl.token.list()
    root = server.put("/v1/acl/bootstrap").json["SecretID"]
    rules = {"key_prefix": {"a/": {"policy": "read"}, "": {"policy": "deny"}}}
    policy = client.acl.policy.create("read-a", token=root, rules=rules)
    role = client.acl.role.create("readers", policies_id=[policy["ID"]], token=root)
    made = client.acl.token.create(roles_id=[role["ID"]], description="one", token=root)
    assert client.acl.token.read(made["AccessorID"], token=root)["Description"] == "one"
    assert client.acl.token.read_self(token=made["SecretID"])["Roles"] == [{"ID": role["ID"], "Name": "readers"}]
    client.kv.put("a/x", "1", token=root)
    assert client.kv.get("a/x", token=made["SecretID"])[1]["Value"] == b"1"
    with pytest.raises(py_consul.ACLPermissionDenied):
        client.kv.put("a/x", "2", token=made["SecretID"])
    with pytest.raises(py_consul.ACLPermissionDenied):
        client.kv.get("b/x", token=made["SecretID"])
    clone = client.acl.token.clone(made["AccessorID"], token=root, description="two")
    assert clone["Description"] == "two"
    assert len(client.acl.token.list(token=root)) == 4
    client.acl.policy.update(policy["ID"], "read-a", token=root, rules={"key_prefix": {"": {"policy": "write"}}})
    assert client.kv.put("a/x", "2", token=made["SecretID"])
    assert client.acl.token.delete(clone["AccessorID"], token=root)
    assert client.acl.role.delete(role["ID"], token=root)
    assert client.acl.policy.delete(policy["ID"], token=root)
    with pytest.raises(py_consul.ConsulException):
        client.acl.token.create(policies_name=["none"], token=root)


def test_entries_intentions_chains_and_coordinates(client: py_consul.Consul) -> None:
    assert client.config.set(kind="service-defaults", name="web", config_entry={"Protocol": "http"}) is True
    entry = client.config.get(kind="service-defaults", name="web")
    assert (entry["Kind"], entry["Name"], entry["Protocol"]) == ("service-defaults", "web", "http")
    stale = int(entry["ModifyIndex"]) + 999
    assert client.config.set(kind="service-defaults", name="web", config_entry={"Protocol": "grpc"}, cas=stale) is False
    assert client.config.set(kind="service-defaults", name="web", config_entry={"Protocol": "grpc"}, cas=int(entry["ModifyIndex"])) is True
    assert [e["Protocol"] for e in client.config.list(kind="service-defaults")] == ["grpc"]
    assert client.discovery_chain.get("web")["Chain"]["Protocol"] == "grpc"
    assert client.discovery_chain.get("web", override_protocol="http")["Chain"]["Protocol"] == "http"
    assert client.config.delete(kind="service-defaults", name="web") is True
    assert client.config.get(kind="service-defaults", name="web") is None
    intentions = client.connect.intentions
    assert intentions.upsert(source="web", destination="db", action="deny", description="d") is True
    assert intentions.read(source="web", destination="db")["Action"] == "deny"
    assert intentions.check(source="web", destination="db") is False
    assert [i["SourceName"] for i in intentions.match(by="destination", name="db")["db"]] == ["web"]
    assert intentions.delete(source="web", destination="db") is True
    assert intentions.read(source="web", destination="db") is None
    assert set(client.coordinate.datacenters()[0]) == {"Datacenter", "Coordinates", "AreaID"}
    config = client.operator.raft_config()
    assert (config["Index"], [s["Leader"] for s in config["Servers"]]) == (0, [True])
