"""Every endpoint: its method, its status, its headers, and the exact keys of what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.consul import Consul, running_consul
from tulle.ca.authority import Authority

BLOCKING = ("x-consul-index", "x-consul-knownleader", "x-consul-lastcontact", "x-consul-effective-consistency")
NODE_KEYS = {"ID", "Node", "Address", "Datacenter", "TaggedAddresses", "Meta", "CreateIndex", "ModifyIndex"}
SERVICE_KEYS = {"ID", "Service", "Tags", "Meta", "Port", "Address", "Weights", "EnableTagOverride", "Datacenter"}
NODE_SERVICE_KEYS = (SERVICE_KEYS - {"Datacenter"}) | {"Proxy", "Connect", "CreateIndex", "ModifyIndex"}
SERVICE_NODE_KEYS = {
    "ID", "Node", "Address", "Datacenter", "TaggedAddresses", "NodeMeta", "ServiceKind", "ServiceID", "ServiceName", "ServiceTags",
    "ServiceAddress", "ServiceTaggedAddresses", "ServiceWeights", "ServiceMeta", "ServicePort", "ServiceSocketPath",
    "ServiceEnableTagOverride", "ServiceProxy", "ServiceConnect", "CreateIndex", "ModifyIndex",
}  # fmt: skip
CHECK_KEYS = {
    "Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags", "Type", "Interval", "Timeout",
    "ExposedPort", "Definition", "CreateIndex", "ModifyIndex",
}  # fmt: skip
ENTRY_KEYS = {"Node", "Service", "Checks"}
KV_KEYS = {"LockIndex", "Key", "Flags", "Value", "CreateIndex", "ModifyIndex"}
SESSION_KEYS = {
    "ID", "Name", "Node", "LockDelay", "Behavior", "TTL", "NodeChecks", "ServiceChecks", "CreateIndex", "ModifyIndex",
}  # fmt: skip
EVENT_KEYS = {"ID", "Name", "Payload", "NodeFilter", "ServiceFilter", "TagFilter", "Version", "LTime"}
QUERY_KEYS = {"ID", "Name", "Session", "Token", "Template", "Service", "DNS", "CreateIndex", "ModifyIndex"}
MEMBER_KEYS = {
    "Name", "Addr", "Port", "Tags", "Status", "ProtocolMin", "ProtocolMax", "ProtocolCur", "DelegateMin", "DelegateMax", "DelegateCur",
}  # fmt: skip
SELF_KEYS = {"Config", "DebugConfig", "Coord", "Member", "Stats", "Meta", "xDS"}
TOKEN_KEYS = {"AccessorID", "SecretID", "Description", "Local", "CreateTime", "Hash", "CreateIndex", "ModifyIndex"}
POLICY_KEYS = {"ID", "Name", "Description", "Hash", "CreateIndex", "ModifyIndex"}
INTENTION_KEYS = {
    "ID", "Description", "SourceNS", "SourceName", "DestinationNS", "DestinationName", "SourceType", "Action", "Meta", "Precedence",
    "CreatedAt", "UpdatedAt", "CreateIndex", "ModifyIndex",
}  # fmt: skip
CONFIG_KEYS = {"Kind", "Name", "Protocol", "TransparentProxy", "MeshGateway", "Expose", "CreateIndex", "ModifyIndex"}
ROOT = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    folder = tmp_path_factory.mktemp("shapes")
    with running_consul(folder, authority=Authority(folder / "ca", "mesh.test")) as running:
        running.put("/v1/acl/bootstrap", {"BootstrapSecret": ROOT})
        running.put("/v1/agent/service/register", {"Name": "web", "Port": 80, "Tags": ["v1"], "Check": {"TTL": "1h", "Status": "passing"}})
        running.put("/v1/agent/check/register", {"Name": "own", "TTL": "1h", "Status": "passing"})
        running.put("/v1/kv/a/key", b"value")
        running.put("/v1/event/fire/deploy", b"now")
        session = running.put("/v1/session/create", {"Name": "s", "TTL": "1h"}).json["ID"]
        query = running.ask("POST", "/v1/query", {"Name": "q", "Service": {"Service": "web"}}).json["ID"]
        running.put("/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "http"})
        running.put("/v1/connect/intentions/exact?source=a&destination=b", {"Action": "allow"})
        policy = running.as_(ROOT, "PUT", "/v1/acl/policy", {"Name": "p", "Rules": 'key "a" { policy = "read" }'}).json["ID"]
        role = running.as_(ROOT, "PUT", "/v1/acl/role", {"Name": "r", "Policies": [{"ID": policy}]}).json["ID"]
        IDS.update({"{session}": session, "{query}": query, "{policy}": policy, "{role}": role})
        yield running


IDS: dict[str, str] = {}
"""What the server chose, under the words that paths below have for it."""

# Path, whether it blocks, what it answers: keys of an object, of the items of a list ([keys]), of the values of an object ({...: keys}).
READS: tuple[tuple[str, bool, Any], ...] = (
    ("agent/self", False, SELF_KEYS),
    ("agent/version", False, {"SHA", "BuildDate", "HumanVersion", "FIPS"}),
    ("agent/members", False, [MEMBER_KEYS]),
    ("agent/services", False, {"*": SERVICE_KEYS}),
    ("agent/service/web", False, SERVICE_KEYS | {"ContentHash"}),
    ("agent/checks", False, {"*": CHECK_KEYS}),
    ("agent/health/service/id/web", False, {"AggregatedStatus", "Service", "Checks"}),
    ("agent/metrics", False, {"Timestamp", "Gauges", "Points", "Counters", "Samples"}),
    ("agent/host", False, {"Memory", "CPU", "Host", "Disk", "CollectionTime", "Errors"}),
    ("agent/connect/ca/roots", True, {"ActiveRootID", "TrustDomain", "Roots"}),
    (
        "agent/connect/ca/leaf/web",
        True,
        {"SerialNumber", "CertPEM", "PrivateKeyPEM", "Service", "ServiceURI", "ValidAfter", "ValidBefore", "CreateIndex", "ModifyIndex"},
    ),
    ("catalog/datacenters", False, "dc1"),
    ("catalog/nodes", True, [NODE_KEYS]),
    ("catalog/services", True, {"consul", "web"}),
    ("catalog/service/web", True, [SERVICE_NODE_KEYS]),
    ("catalog/connect/web", True, []),
    ("catalog/node/n1", True, {"Node", "Services"}),
    ("catalog/node-services/n1", True, {"Node", "Services"}),
    ("health/service/web", True, [ENTRY_KEYS]),
    ("health/connect/web", True, []),
    ("health/ingress/web", True, []),
    ("health/node/n1", True, [CHECK_KEYS]),
    ("health/checks/web", True, [CHECK_KEYS]),
    ("health/state/any", True, [CHECK_KEYS]),
    ("kv/a/key", True, [KV_KEYS]),
    ("kv/a?recurse", True, [KV_KEYS]),
    ("session/info/{session}", True, [SESSION_KEYS]),
    ("session/node/n1", True, [SESSION_KEYS]),
    ("session/list", True, [SESSION_KEYS]),
    ("event/list", True, [EVENT_KEYS]),
    ("query", True, [QUERY_KEYS]),
    ("query/{query}", True, [QUERY_KEYS]),
    ("query/{query}/execute", False, {"Service", "Nodes", "DNS", "Datacenter", "Failovers"}),
    ("query/{query}/explain", False, {"Query"}),
    ("coordinate/datacenters", False, [{"Datacenter", "AreaID", "Coordinates"}]),
    ("coordinate/nodes", True, [{"Node", "Segment", "Coord"}]),
    ("coordinate/node/n1", True, [{"Node", "Segment", "Coord"}]),
    (
        "config/service-defaults",
        True,
        [{"Kind", "Name", "Protocol", "TransparentProxy", "MeshGateway", "Expose", "CreateIndex", "ModifyIndex"}],
    ),
    ("connect/ca/configuration", False, {"Provider", "Config", "State", "CreateIndex", "ModifyIndex"}),
    ("connect/intentions", True, [INTENTION_KEYS]),
    ("connect/intentions/exact?source=a&destination=b", True, INTENTION_KEYS),
    ("connect/intentions/match?by=source&name=a", True, {"a"}),
    ("connect/intentions/check?source=a&destination=b", True, {"Allowed"}),
    ("discovery-chain/web", True, {"Chain"}),
    ("operator/raft/configuration", False, {"Servers", "Index"}),
    ("acl/token/self", True, TOKEN_KEYS | {"Policies"}),
    ("acl/policy/{policy}", True, POLICY_KEYS | {"Rules"}),
    ("acl/policy/name/p", True, POLICY_KEYS | {"Rules"}),
    ("acl/role/{role}", True, POLICY_KEYS | {"Policies"}),
    ("acl/role/name/r", True, POLICY_KEYS | {"Policies"}),
    ("acl/policies", True, [POLICY_KEYS]),
    ("acl/roles", True, [POLICY_KEYS | {"Policies"}]),
)


@pytest.mark.parametrize(("path", "blocks", "shape"), READS, ids=[path for path, _, _ in READS])
def test_reads(consul: Consul, path: str, blocks: bool, shape: Any) -> None:
    for word, identifier in IDS.items():
        path = path.replace(word, identifier)
    answer = consul.as_(ROOT, "GET", f"/v1/{path}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.text
    assert [name for name in BLOCKING if name in answer.headers] == (
        list(BLOCKING) if blocks else [n for n in BLOCKING[1:3] if "execute" in path]
    )
    if blocks:
        assert answer.index > 0
        assert answer.headers["x-consul-lastcontact"] == "0"
        stale = consul.as_(ROOT, "GET", f"/v1/{path}{'&' if '?' in path else '?'}stale")
        assert stale.headers["x-consul-effective-consistency"] == "stale"
        cached = consul.as_(ROOT, "GET", f"/v1/{path}{'&' if '?' in path else '?'}cached")
        assert cached.headers["x-cache"] == "MISS"
        both = consul.as_(ROOT, "GET", f"/v1/{path}{'&' if '?' in path else '?'}stale&consistent")
        assert both.status == 400
    value = answer.json
    if isinstance(shape, str):
        assert value == [shape]
    elif isinstance(shape, list):
        assert all(set(item) == shape[0] for item in value) if shape else value == []
        assert bool(value) == bool(shape)
    elif isinstance(shape, dict):
        assert value
        assert all(set(item) == shape["*"] for item in value.values())
    else:
        assert set(value) == shape


@pytest.mark.parametrize("path", [path for path, _, _ in READS])
def test_other_methods_are_refused_and_named(consul: Consul, path: str) -> None:
    path = path.partition("?")[0].format(session="x", query="x", policy="x", role="x")
    refused = consul.as_(ROOT, "PATCH", f"/v1/{path}")
    assert (refused.status, refused.text) == (405, "method PATCH not allowed")
    assert "GET" in refused.headers["allow"].split(",")
    options = consul.as_(ROOT, "OPTIONS", f"/v1/{path}")
    assert (options.status, options.headers["allow"]) == (200, refused.headers["allow"])
    head = consul.as_(ROOT, "HEAD", f"/v1/{path}")
    assert head.body == b""
    if not path.startswith("agent/"):
        elsewhere = consul.as_(ROOT, "GET", f"/v1/{path}?dc=mars")
        assert (elsewhere.status, elsewhere.text) == (500, "No path to datacenter")


NOT_THERE: tuple[tuple[str, int, str], ...] = (
    ("agent/service/none", 404, "unknown service ID: none"),
    ("agent/health/service/id/none", 404, ""),
    ("kv/none", 404, ""),
    ("kv/none?recurse", 404, ""),
    ("query/none", 404, "Query not found"),
    ("query/none/execute", 404, "Query not found"),
    ("coordinate/node/none", 404, ""),
    ("config/service-router/none", 404, 'Config entry not found for "service-router" / "none"'),
    ("config/moon", 400, "invalid config entry kind: moon"),
    ("connect/intentions/exact?source=x&destination=y", 404, "Intention not found"),
    ("acl/token/none", 404, "token does not exist: ACL not found"),
    ("acl/policy/none", 404, "Requested policy does not exist: ACL not found"),
    ("acl/role/none", 404, "Requested role does not exist: ACL not found"),
    ("health/state/moon", 400, ""),
    ("nothing", 404, "Invalid URL path: not a recognized HTTP API endpoint: /v1/nothing"),
)


@pytest.mark.parametrize(("path", "status", "text"), NOT_THERE, ids=[path for path, _, _ in NOT_THERE])
def test_what_is_not_there(consul: Consul, path: str, status: int, text: str) -> None:
    answer = consul.as_(ROOT, "GET", f"/v1/{path}")
    assert answer.status == status
    assert not text or answer.text == text
    if path.startswith(("kv/", "coordinate/node", "query/none", "config/service-router", "connect/")) and "execute" not in path:
        assert "x-consul-index" in answer.headers


EMPTY: tuple[tuple[str, Any], ...] = (
    ("catalog/service/none", []),
    ("catalog/node/none", None),
    ("health/service/none", []),
    ("health/checks/none", []),
    ("health/node/none", []),
    ("health/state/critical", []),
    ("session/info/none", []),
    ("session/node/none", []),
    ("kv/?keys&separator=/", ["a/"]),
    ("config/service-router", []),
    ("connect/intentions/match?by=source&name=none", {"none": []}),
    ("event/list?name=none", []),
)


@pytest.mark.parametrize(("path", "value"), EMPTY, ids=[path for path, _ in EMPTY])
def test_nothing_is_an_empty_list_and_never_null(consul: Consul, path: str, value: Any) -> None:
    answer = consul.as_(ROOT, "GET", f"/v1/{path}")
    assert (answer.status, answer.json) == (200, value)


# Method, path, body, and the answer: text, or JSON.
WRITES: tuple[tuple[str, str, object, Any], ...] = (
    ("PUT", "agent/service/register", {"name": "low", "tags": None, "port": 1}, ""),
    ("PUT", "agent/service/maintenance/low?enable=true&reason=r", None, ""),
    ("PUT", "agent/service/maintenance/low?enable=false", None, ""),
    ("PUT", "agent/service/deregister/low", None, ""),
    ("PUT", "agent/maintenance?enable=true", None, ""),
    ("PUT", "agent/maintenance?enable=false", None, ""),
    ("PUT", "agent/check/register", {"Name": "ttl", "TTL": "1h"}, ""),
    ("PUT", "agent/check/pass/ttl?note=n", None, ""),
    ("PUT", "agent/check/warn/ttl", None, ""),
    ("PUT", "agent/check/fail/ttl", None, ""),
    ("PUT", "agent/check/update/ttl", {"Status": "passing", "Output": "o"}, ""),
    ("PUT", "agent/check/deregister/ttl", None, ""),
    ("PUT", "agent/reload", None, ""),
    ("PUT", "agent/token/default", {"Token": ""}, ""),
    ("PUT", "catalog/register", {"Node": "ext", "Address": "10.0.0.9"}, True),
    ("PUT", "catalog/deregister", {"Node": "ext"}, True),
    ("PUT", "kv/w?flags=7", b"x", True),
    ("PUT", "kv/w?cas=0", b"y", False),
    ("DELETE", "kv/w", None, True),
    ("DELETE", "kv/none?recurse", None, True),
    ("PUT", "txn", [{"KV": {"Verb": "get-tree", "Key": "none"}}], {"Results": [], "Errors": None}),
    ("PUT", "coordinate/update", {"Node": "none", "Coord": {"Vec": [0] * 8}}, ""),
    ("PUT", "session/destroy/none", None, True),
    ("DELETE", "query/none", None, ""),
    ("PUT", "config", {"Kind": "proxy-defaults", "Config": {"protocol": "http"}}, True),
    ("DELETE", "config/proxy-defaults/global", None, {}),
    ("DELETE", "config/proxy-defaults/global", None, {}),
    ("DELETE", "connect/intentions/exact?source=x&destination=y", None, True),
    ("PUT", "connect/intentions/exact?source=x&destination=y", {"Action": "deny"}, True),
    ("DELETE", "connect/intentions/exact?source=x&destination=y", None, True),
    ("DELETE", "acl/token/none", None, True),
)


def test_writes(consul: Consul) -> None:
    for method, path, body, expected in WRITES:
        answer = consul.as_(ROOT, method, f"/v1/{path}", body)
        assert answer.status == 200, (path, answer.text)
        assert (answer.text if expected == "" else answer.json) == expected, path


def test_pretty_answers_say_the_same(consul: Consul) -> None:
    for path in ("catalog/nodes", "agent/self", "config/service-defaults/web"):
        plain, pretty = consul.as_(ROOT, "GET", f"/v1/{path}"), consul.as_(ROOT, "GET", f"/v1/{path}?pretty")
        assert plain.json == pretty.json
        assert (b"\n" in plain.body, b'\n    "' in pretty.body or b"\n    {" in pretty.body) == (False, True)
