"""python-consul, the older client of the same package name as py-consul: it has a folder of its own, and runs in a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.consul import running_consul

CLIENTS = Path(sys.prefix) / "clients"
"""Where `make setup` puts what requirements/clients.txt lists."""

PROGRAM = """
import sys, threading
import consul

c = consul.Consul(host="127.0.0.1", port=int(sys.argv[1]))
assert consul.__version__.startswith("1."), consul.__version__

# services and their health, with a reader that waits
assert c.agent.service.register("foo", service_id="foo:1", port=80, tags=["t"], check=consul.Check.ttl("10m"))
assert list(c.agent.services()) == ["foo:1"]
assert c.health.service("foo", passing=True)[1] == []
assert c.agent.check.ttl_pass("service:foo:1")
index, nodes = c.health.service("foo", passing=True, tag="t")
assert [n["Service"]["ID"] for n in nodes] == ["foo:1"]
waited = []
reader = threading.Thread(target=lambda: waited.append(c.health.service("foo", index=index, wait="9m", passing=True)), daemon=True)
reader.start()
other = consul.Consul(host="127.0.0.1", port=int(sys.argv[1]))
assert other.agent.service.maintenance("foo:1", "true", "r")
reader.join(60)
assert waited and waited[0][1] == [], waited
assert c.agent.service.maintenance("foo:1", "false")
assert set(c.catalog.services()[1]) == {"consul", "foo"}
assert [n["ServiceID"] for n in c.catalog.service("foo")[1]] == ["foo:1"]
assert c.agent.service.deregister("foo:1")

# values and transactions
assert c.kv.put("k", "v", flags=5)
index, entry = c.kv.get("k")
assert (entry["Value"], entry["Flags"]) == (b"v", 5)
assert c.kv.put("k", "w", cas=0) is False
assert c.kv.get("", keys=True)[1] == ["k"]
assert c.txn.put([{"KV": {"Verb": "get", "Key": "k"}}])["Errors"] is None

# sessions and locks
session = c.session.create("me", ttl=600, lock_delay=0)
assert c.kv.put("lock", "mine", acquire=session)
assert c.kv.get("lock")[1]["Session"] == session
assert c.session.renew(session)["ID"] == session
assert session in [s["ID"] for s in c.session.list()[1]]
assert c.session.destroy(session)
assert "Session" not in c.kv.get("lock")[1]

# events, queries, coordinates, status
assert c.event.fire("hello", "x")
assert [e["Name"] for e in c.event.list()[1]] == ["hello"]
query = c.query.create("foo", name="q")
assert c.query.get(query["ID"])[0]["Name"] == "q"
assert c.query.execute("q")["Service"] == "foo"
assert c.query.delete(query["ID"])
assert c.coordinate.nodes()[1]
assert c.status.leader() == c.agent.self()["Stats"]["consul"]["leader_addr"]
assert c.operator.raft_config()["Index"] == 0
assert c.agent.members()[0]["Status"] == 1
for refused in (lambda: c.catalog.nodes(dc="mars"), lambda: c.session.create(node="nobody")):
    try:
        refused()
    except consul.ConsulException:
        continue
    raise AssertionError("not refused")
print("all is well")
"""


def test_the_older_client_works_unchanged(tmp_path: Path) -> None:
    if not CLIENTS.is_dir():
        pytest.skip("python-consul is not in .venv/clients: make setup puts it there")
    with running_consul(tmp_path) as server:
        environment = {**os.environ, "PYTHONPATH": str(CLIENTS), "PYTHONDONTWRITEBYTECODE": "1"}
        arguments = [sys.executable, "-c", PROGRAM, str(server.port)]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip().endswith("all is well"), done.stderr[-3000:]
