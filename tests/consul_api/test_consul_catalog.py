"""Consul's agent, catalog and health endpoints: what its clients rely on, endpoint by endpoint."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from support.consul import Consul, running_consul
from tulle.model.frozen import FrozenMap
from tulle.model.service import Health, RegisteredPort, Registration
from tulle.registry.registry import STRAY


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    with running_consul(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """With two services, for tests that change nothing."""
    with running_consul(tmp_path_factory.mktemp("consul")) as running:
        tagged = {"lan": {"address": "10.0.0.1", "port": 8000}}
        web = {"id": "web-1", "name": "web", "port": 8080, "tags": ["v1", "Blue"], "meta": {"team": "shop"}, "tagged_addresses": tagged}
        assert running.put("/v1/agent/service/register", {**web, "check": {"ttl": "10m", "status": "passing"}}).status == 200
        assert running.put("/v1/agent/service/register", {"Name": "web", "ID": "web-2", "Port": 8081, "Tags": ["v2"]}).status == 200
        node = {"Node": "far", "Address": "10.0.0.9", "NodeMeta": {"rack": "r1"}}
        check = {"CheckID": "db-alive", "Name": "alive", "Status": "warning", "ServiceID": "db-1"}
        assert running.put("/v1/catalog/register", {**node, "Service": {"ID": "db-1", "Service": "db", "Port": 5432}, "Check": check}).json
        yield running


# (method, path, body) -> (status, part of the text)
WRONG = [
    ("PUT", "/v1/agent/service/register", {"port": 1}, 400, "Missing service name"),
    ("PUT", "/v1/agent/service/register", {"name": "x", "address": "0.0.0.0"}, 400, "Invalid service address"),
    ("PUT", "/v1/agent/service/register", {"name": "x", "check": {"http": "http://a"}}, 400, "Interval must be > 0"),
    ("PUT", "/v1/agent/service/register", {"name": "x", "check": {"ttl": "1s", "interval": "1s"}}, 400, "Interval and TTL"),
    ("PUT", "/v1/agent/service/register", {"name": "x", "check": {"args": ["true"], "interval": "1s"}}, 400, "Scripts are disabled"),
    ("PUT", "/v1/agent/service/register", {"name": "x", "meta": {"a b": ""}}, 400, "Key contains invalid characters"),
    ("PUT", "/v1/agent/service/register", {"name": "x", "port": "80"}, 400, "Request decode failed"),
    ("PUT", "/v1/agent/service/register", {"name": "x", "check": {"ttl": "soon"}}, 400, "Request decode failed"),
    ("PUT", "/v1/agent/service/register", b'{"name": ', 400, "Request decode failed"),
    ("PUT", "/v1/agent/service/deregister/nobody", None, 404, 'Unknown service ID "nobody". Ensure that the service ID is passed'),
    ("PUT", "/v1/agent/service/maintenance/nobody?enable=true", None, 404, "Unknown service ID"),
    ("PUT", "/v1/agent/maintenance", None, 400, "Missing value for enable"),
    ("PUT", "/v1/agent/check/register", {"ttl": "1s"}, 400, "Missing check name"),
    ("GET", "/v1/health/service/web?peer=west", None, 400, "there are no peerings"),
    ("PUT", "/v1/agent/check/register", {"name": "c", "ttl": "1s", "serviceid": "no"}, 404, 'ServiceID "no" does not exist'),
    ("PUT", "/v1/agent/check/register", {"name": "c", "ttl": "1s", "status": "fine"}, 400, "Invalid check"),
    ("PUT", "/v1/agent/check/register", {"name": "c"}, 400, "Invalid check: TTL must be > 0"),
    ("PUT", "/v1/agent/check/deregister/no", None, 404, "Unknown check ID"),
    ("PUT", "/v1/agent/check/pass/no", None, 404, "Unknown check ID"),
    ("PUT", "/v1/agent/check/update/no", {"Status": "fine"}, 400, "Invalid check status"),
    ("GET", "/v1/agent/service/no", None, 404, "unknown service ID"),
    ("PUT", "/v1/catalog/register", {"Node": "x"}, 500, "Must provide node and address"),
    ("PUT", "/v1/catalog/register", {"Node": "x", "Address": "a", "Datacenter": "mars"}, 500, "No path to datacenter"),
    ("PUT", "/v1/catalog/deregister", {}, 500, "Must provide node"),
    ("GET", "/v1/catalog/nodes?dc=mars", None, 500, "No path to datacenter"),
    ("GET", "/v1/catalog/nodes?stale&consistent", None, 400, "Cannot specify ?stale with ?consistent"),
    ("GET", "/v1/catalog/nodes?wait=long", None, 400, "Invalid wait time"),
    ("GET", "/v1/catalog/nodes?index=-1", None, 400, "Invalid index"),
    ("GET", "/v1/catalog/nodes?filter=Nope==1", None, 500, "Failed to create boolean expression evaluator"),
    ("GET", "/v1/catalog/service/", None, 400, "Missing service name"),
    ("GET", "/v1/health/service/web?passing=perhaps", None, 400, "Invalid value for ?passing"),
    ("GET", "/v1/health/state/odd", None, 400, "Invalid check state"),
    ("GET", "/v1/no/such/thing", None, 404, "Invalid URL path"),
    ("PUT", "/v1/agent/service/register", b'{"name": "x", "proxy": {"config": {"a": NaN}}}', 400, "Request decode failed"),
    ("GET", "/v1/acl/tokens", None, 403, "Permission denied: anonymous token lacks permission 'acl:read'"),
    ("POST", "/v1/catalog/nodes", None, 405, "method POST not allowed"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), WRONG, ids=lambda value: str(value)[:60])
def test_what_cannot_be_done(full: Consul, method: str, path: str, body: object, status: int, words: str) -> None:
    answer = full.ask(method, path, body)
    assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert words in answer.text


def test_a_plain_service_has_exactly_the_keys_that_clients_compare(full: Consul) -> None:
    assert full.get("/v1/agent/services").json["web-2"] == {
        "ID": "web-2",
        "Service": "web",
        "Tags": ["v2"],
        "Meta": {},
        "Port": 8081,
        "Address": "",
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": False,
        "Datacenter": "dc1",
    }
    single = full.get("/v1/agent/service/web-1").json
    assert single["TaggedAddresses"] == {"lan": {"Address": "10.0.0.1", "Port": 8000}}
    assert re.fullmatch("[0-9a-f]{16}", single["ContentHash"])


def test_self_and_members_agree(full: Consul) -> None:
    found = full.get("/v1/agent/self").json
    assert set(found) == {"Config", "DebugConfig", "Coord", "Member", "Stats", "Meta", "xDS"}
    assert {"Datacenter", "NodeName", "NodeID", "Server", "Version", "Revision"} <= set(found["Config"])
    assert found["Member"] in full.get("/v1/agent/members").json
    assert full.get("/v1/agent/members?wan=1").json[0]["Name"] == "n1.dc1"
    assert full.get("/v1/status/leader").json == found["Stats"]["consul"]["leader_addr"]
    assert full.get("/v1/status/peers").json == [found["Stats"]["consul"]["leader_addr"]]
    assert full.get("/v1/catalog/datacenters").json == ["dc1"]


def test_shapes_of_the_catalog(full: Consul) -> None:
    answer = full.get("/v1/catalog/nodes")
    assert [node["Node"] for node in answer.json] == ["far", "n1"]
    assert set(answer.json[0]) == {"ID", "Node", "Address", "Datacenter", "TaggedAddresses", "Meta", "CreateIndex", "ModifyIndex"}
    assert answer.headers["x-consul-knownleader"] == "true"
    assert answer.headers["x-consul-lastcontact"] == "0"
    assert full.get("/v1/catalog/services").json == {"consul": [], "db": [], "web": ["Blue", "v1", "v2"]}
    assert full.get("/v1/catalog/service/nothing").json == []
    web = full.get("/v1/catalog/service/WEB").json
    assert [(w["ServiceID"], w["ServicePort"], w["ServiceTags"]) for w in web] == [
        ("web-1", 8080, ["v1", "Blue"]),
        ("web-2", 8081, ["v2"]),
    ]
    assert full.get("/v1/catalog/node/far").json["Services"]["db-1"]["Port"] == 5432
    assert full.get("/v1/catalog/node-services/far").json["Services"][0]["ID"] == "db-1"
    assert (full.get("/v1/catalog/node/none").status, full.get("/v1/catalog/node/none").json) == (200, None)


def test_shapes_of_health(full: Consul) -> None:
    web = full.get("/v1/health/service/web").json
    assert [set(entry) for entry in web] == [{"Node", "Service", "Checks"}] * 2
    assert [check["CheckID"] for check in web[0]["Checks"]] == ["serfHealth", "service:web-1"]
    own = web[0]["Checks"][1]
    assert (own["Type"], own["ServiceName"], own["ServiceTags"], own["Status"]) == ("ttl", "web", ["v1", "Blue"], "passing")
    assert [c["CheckID"] for c in full.get("/v1/health/node/far").json] == ["db-alive"]
    assert [c["CheckID"] for c in full.get("/v1/health/checks/web").json] == ["service:web-1"]
    assert [c["CheckID"] for c in full.get("/v1/health/state/warning").json] == ["db-alive"]
    assert full.get("/v1/health/service/db?passing").json == []
    assert full.get("/v1/health/ingress/web").json == []


QUESTIONS = [
    ("/v1/health/service/web?tag=V1", ["web-1"]),
    ("/v1/health/service/web?tag=v1&tag=blue", ["web-1"]),
    ("/v1/health/service/web?tag=v1&tag=v2", []),
    ("/v1/health/service/web?near=_agent&stale", ["web-1", "web-2"]),
    ("/v1/health/service/web?filter=Service.Meta.team==shop", ["web-1"]),
    ('/v1/health/service/web?filter=Service.Meta%5B"team"%5D!=shop', ["web-2"]),
    ("/v1/health/service/web?filter=v2+in+Service.Tags", ["web-2"]),
    ("/v1/health/service/web?filter=Service.Tags+contains+v2+or+Service.Port==8080", ["web-1", "web-2"]),
    ('/v1/health/service/web?filter=not+(Service.ID+matches+"2$")+and+Checks+is+not+empty', ["web-1"]),
    ("/v1/health/service/web?filter=Service.Meta+is+empty", ["web-2"]),
    ("/v1/health/service/db?node-meta=rack:r1", ["db-1"]),
    ("/v1/health/service/db?node-meta=rack:r2", []),
]


@pytest.mark.parametrize(("path", "ids"), QUESTIONS, ids=str)
def test_questions(full: Consul, path: str, ids: list[str]) -> None:
    assert [entry["Service"]["ID"] for entry in full.get(path).json] == ids


def test_filters_of_other_answers(full: Consul) -> None:
    assert list(full.get("/v1/agent/services?filter=Port==8081").json) == ["web-2"]
    assert list(full.get("/v1/agent/checks?filter=Status==passing").json) == ["service:web-1"]
    assert [n["Node"] for n in full.get('/v1/catalog/nodes?filter=Meta.rack=="r1"').json] == ["far"]
    assert [s["ServiceID"] for s in full.get("/v1/catalog/service/web?filter=ServiceTags+contains+v2").json] == ["web-2"]
    assert full.get("/v1/catalog/node/far?filter=Service==other").json["Services"] == {}
    assert full.get("/v1/catalog/services?filter=ServiceTags+contains+v2").json == {"web": ["v2"]}


def test_health_for_load_balancers(full: Consul) -> None:
    assert full.get("/v1/agent/health/service/id/web-1").status == 200
    assert full.get("/v1/agent/health/service/name/none").status == 404
    assert full.get("/v1/agent/health/service/name/web?format=text").text == "passing"


def test_an_id_may_hold_anything(consul: Consul) -> None:
    assert consul.put("/v1/agent/service/register", {"name": "odd", "id": "a/b#c d"}).status == 200
    assert consul.put("/v1/agent/service/deregister/a%2Fb%23c%20d").status == 200
    assert consul.get("/v1/agent/services").json == {}


def test_ttl_checks(consul: Consul) -> None:
    service = {"Name": "foo", "Checks": [{"TTL": "10m"}, {"ttl": "20m", "name": "second"}]}
    assert consul.put("/v1/agent/service/register", service).status == 200
    assert sorted(consul.get("/v1/agent/checks").json) == ["service:foo:1", "service:foo:2"]
    for verb, status in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
        assert consul.put(f"/v1/agent/check/{verb}/service:foo:1?note=because").status == 200
        check = consul.get("/v1/agent/checks").json["service:foo:1"]
        assert (check["Status"], check["Output"]) == (status, "because")
    assert consul.put("/v1/agent/check/update/service:foo:2", {"Status": "passing", "Output": "x" * 5000}).status == 200
    check = consul.get("/v1/agent/checks").json["service:foo:2"]
    assert check["Status"] == "passing"
    assert check["Output"].endswith(" ... (captured 4096 of 5000 bytes)")
    assert consul.put("/v1/agent/service/register", service).status == 200
    assert consul.get("/v1/agent/checks").json["service:foo:2"]["Status"] == "passing"
    only = {"Name": "foo", "Check": {"TTL": "1m", "CheckID": "mine"}}
    assert consul.put("/v1/agent/service/register?replace-existing-checks", only).status == 200
    assert list(consul.get("/v1/agent/checks").json) == ["mine"]


def test_an_output_alone_is_seen_by_the_agent_at_once_and_moves_no_index(consul: Consul) -> None:
    consul.put("/v1/agent/check/register", {"name": "beat", "ttl": "10m", "status": "passing"})
    before = consul.get("/v1/health/node/n1")
    consul.put("/v1/agent/check/pass/beat?note=again")
    assert consul.get("/v1/agent/checks").json["beat"]["Output"] == "again"
    assert consul.get("/v1/health/node/n1").index == before.index


def test_maintenance(consul: Consul) -> None:
    consul.put("/v1/agent/service/register", {"name": "web"})
    assert consul.put("/v1/agent/service/maintenance/web?enable=true&reason=paint").status == 200
    check = consul.get("/v1/agent/checks").json["_service_maintenance:web"]
    assert (check["Status"], check["Notes"], check["ServiceName"]) == ("critical", "paint", "web")
    assert consul.get("/v1/agent/health/service/name/web").status == 503
    consul.put("/v1/agent/service/maintenance/web?enable=false")
    consul.put("/v1/agent/maintenance?enable=true")
    assert list(consul.get("/v1/agent/checks").json) == ["_node_maintenance"]
    assert consul.get("/v1/health/service/web?passing").json == []
    consul.put("/v1/agent/maintenance?enable=false")
    assert consul.get("/v1/agent/checks").json == {}


def test_what_leaves_takes_all_that_is_its_own(consul: Consul) -> None:
    for name in ("db", "cache"):
        body = {"Node": "far", "Address": "10.1.1.1", "Service": {"Service": name}, "Check": {"Name": f"{name}-up", "ServiceID": name}}
        assert consul.put("/v1/catalog/register", body).json is True
    assert consul.put("/v1/catalog/deregister", {"Node": "far", "ServiceID": "db"}).json is True
    assert [c["CheckID"] for c in consul.get("/v1/health/node/far").json] == ["cache-up"]
    assert consul.put("/v1/catalog/deregister", {"Node": "far"}).json is True
    assert [n["Node"] for n in consul.get("/v1/catalog/nodes").json] == ["n1"]
    assert consul.get("/v1/catalog/services").json == {"consul": []}


def test_equal_registrations_move_no_index(consul: Consul) -> None:
    body = {"Name": "web", "Port": 80, "Check": {"TTL": "1m"}}
    consul.put("/v1/agent/service/register", body)
    before = consul.get("/v1/health/service/web")
    consul.put("/v1/agent/service/register", body)
    consul.put("/v1/agent/service/register", {"Name": "other"})
    after = consul.get("/v1/health/service/web")
    assert (after.index, after.body) == (before.index, before.body)


def test_a_waiting_reader_hears_of_its_own_service_only(consul: Consul) -> None:
    consul.put("/v1/agent/service/register", {"Name": "web"})
    before = consul.get("/v1/health/service/web")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(consul.get, f"/v1/health/service/web?index={before.index}&wait=20s")
        while not consul.registry.waiting.count():
            pass
        consul.put("/v1/agent/service/register", {"Name": "other"})
        assert not waiting.done()
        consul.put("/v1/agent/service/deregister/web")
        answer = waiting.result(60)
    assert answer.json == []
    assert answer.index > before.index


def test_waits_end_in_time_with_what_there_is(consul: Consul) -> None:
    answer = consul.get("/v1/catalog/services?index=1000000&wait=50ms")
    assert (answer.status, answer.json) == (200, {"consul": []})
    assert answer.index < 1_000_000
    assert consul.get("/v1/health/service/none?index=1000000&wait=10ms").json == []


def test_one_service_waits_for_its_hash(consul: Consul) -> None:
    consul.put("/v1/agent/service/register", {"Name": "web"})
    known = consul.get("/v1/agent/service/web").json["ContentHash"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(consul.get, f"/v1/agent/service/web?hash={known}&wait=20s")
        while not consul.registry.waiting.count():
            pass
        consul.put("/v1/agent/service/register", {"Name": "web", "Port": 1})
        assert waiting.result(60).json["Port"] == 1


def test_the_registry_survives(tmp_path: Path) -> None:
    with running_consul(tmp_path) as first:
        first.put("/v1/agent/service/register", {"Name": "web", "Tags": ["a"], "Meta": {"k": "v"}, "Check": {"TTL": "1h"}})
        first.put("/v1/agent/check/pass/service:web")
        before = first.get("/v1/health/service/web")
        identity = first.get("/v1/agent/self").json["Config"]["NodeID"]
    with running_consul(tmp_path) as second:
        after = second.get("/v1/health/service/web")
        assert after.json == before.json
        assert after.index >= before.index
        assert second.get("/v1/agent/self").json["Config"]["NodeID"] == identity


def test_one_catalog_for_the_mesh_and_for_consul(consul: Consul) -> None:
    port = RegisteredPort(number=9080, target=31000)
    run = Registration(id="reviews-1", service="reviews", ports=(port,), labels=FrozenMap({"version": "v1"}))
    consul.call(consul.registrations.register(run, 600))
    consul.put("/v1/agent/service/register", {"Name": "web", "ID": "web-1", "Port": 8080, "Check": {"TTL": "1m", "Status": "passing"}})
    (found,) = consul.get("/v1/health/service/reviews?passing").json
    assert (found["Service"]["ID"], found["Service"]["Port"], found["Service"]["Tags"]) == ("reviews-1", 31000, ["v1"])
    mesh = consul.registry.mesh()
    (web,) = mesh.values()
    assert (web.service, web.health, [(p.number, p.target) for p in web.ports]) == ("web", Health.PASSING, [(80, 8080), (8080, 8080)])
    consul.put("/v1/agent/check/fail/service:web-1")
    assert [r.health for r in consul.registry.mesh().values()] == [Health.CRITICAL]
    consul.put("/v1/agent/service/deregister/web-1")
    assert consul.registry.mesh() == {}
    consul.put("/v1/agent/service/maintenance/reviews-1?enable=true")
    assert consul.registry.mesh()["reviews-1"].health is Health.CRITICAL
    consul.put("/v1/agent/service/maintenance/reviews-1?enable=false")
    assert consul.registry.mesh() == {}
    consul.put("/v1/agent/service/deregister/reviews-1")
    assert consul.call(consul.registrations.all()) == {}
    assert consul.get("/v1/health/service/reviews").json == []


def test_workloads_with_sidecars_take_mutual_tls(consul: Consul) -> None:
    for identifier, proxy in (("web-1", "sidecar~web-1"), ("web-2", "")):
        run = Registration(id=identifier, service="web", ports=(RegisteredPort(number=80, target=31000),), proxy=proxy)
        consul.call(consul.registrations.register(run, 600))
    seen = consul.get("/v1/catalog/connect/web")
    while not seen.json:
        seen = consul.get(f"/v1/catalog/connect/web?index={seen.index}&wait=20s")
    assert [instance["ServiceID"] for instance in seen.json] == ["web-1"]
    (entry,) = consul.get("/v1/health/connect/web?passing").json
    assert entry["Service"]["Connect"] == {"Native": True}


def test_what_was_said_of_a_workload_goes_after_it(consul: Consul) -> None:
    run = Registration(id="reviews-1", service="reviews", ports=(RegisteredPort(number=9080, target=31000),))
    consul.call(consul.registrations.register(run, 600))
    consul.put("/v1/agent/service/maintenance/reviews-1?enable=true")
    consul.call(consul.registrations.deregister("reviews-1"))
    left = consul.get("/v1/health/state/critical")
    while [check["CheckID"] for check in left.json] != ["_service_maintenance:reviews-1"]:
        left = consul.get(f"/v1/health/state/critical?index={left.index}&wait=20s")
    ahead = count()
    consul.registry.clock = lambda: time.monotonic() + next(ahead) * STRAY
    assert consul.get(f"/v1/health/state/critical?index={left.index}&wait=20s").json == []


def test_a_node_in_maintenance_takes_its_instances_out_of_the_mesh(consul: Consul) -> None:
    consul.put("/v1/agent/service/register", {"Name": "web", "Port": 8080})
    consul.put("/v1/agent/service/register", {"Name": "not_a_host_name", "Port": 8081})
    consul.put("/v1/agent/service/register", {"Name": "named", "Port": 8082, "Address": "db.example.com"})
    assert [(r.service, r.health) for r in consul.registry.mesh().values()] == [("web", Health.PASSING)]
    consul.put("/v1/agent/maintenance?enable=true")
    assert [r.health for r in consul.registry.mesh().values()] == [Health.CRITICAL]
    consul.put("/v1/agent/maintenance?enable=false")
    assert [r.health for r in consul.registry.mesh().values()] == [Health.PASSING]


def test_a_sidecar_is_registered_with_its_service(consul: Consul) -> None:
    for name in ("web", "api"):
        consul.put("/v1/agent/service/register", {"Name": name, "Port": 80, "Connect": {"SidecarService": {}}})
    (proxy,) = consul.get("/v1/catalog/connect/web").json
    assert (proxy["ServiceID"], proxy["ServiceKind"], proxy["ServicePort"]) == ("web-sidecar-proxy", "connect-proxy", 21000)
    assert proxy["ServiceProxy"]["DestinationServiceID"] == "web"
    (entry,) = consul.get("/v1/health/connect/api").json
    assert (entry["Service"]["Port"], entry["Checks"][1]["Type"]) == (21001, "alias")


def test_a_sidecar_keeps_its_port_and_goes_with_its_service(consul: Consul) -> None:
    own = {"Name": "own", "TCP": "127.0.0.1:1", "Interval": "10m"}
    for name, sidecar in (("web", {}), ("api", {"Checks": [own]}), ("web", {}), ("api", {"Checks": [own]})):
        body = {"Name": name, "Port": 80, "Connect": {"SidecarService": sidecar}}
        assert consul.put("/v1/agent/service/register", body).status == 200
    services = consul.get("/v1/agent/services").json
    assert (services["web-sidecar-proxy"]["Port"], services["api-sidecar-proxy"]["Port"]) == (21000, 21001)
    checks = consul.get("/v1/health/checks/api-sidecar-proxy").json
    assert [(check["CheckID"], check["Name"], check["Type"]) for check in checks] == [("service:api-sidecar-proxy", "own", "tcp")]
    assert consul.put("/v1/agent/service/deregister/web").status == 200
    assert set(consul.get("/v1/agent/services").json) == {"api", "api-sidecar-proxy"}


def test_a_service_named_like_a_sidecar_stays_when_another_goes(consul: Consul) -> None:
    for name in ("web", "web-sidecar-proxy"):
        consul.put("/v1/agent/service/register", {"Name": name, "Port": 80})
    consul.put("/v1/agent/service/deregister/web")
    assert set(consul.get("/v1/agent/services").json) == {"web-sidecar-proxy"}
