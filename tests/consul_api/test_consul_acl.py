"""Access control: what tokens may do, what they see, and how they are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.consul import Answer, Consul, running_consul
from tulle.ca.authority import Authority

ROOT = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("acl"), acl="deny") as running:
        assert running.put("/v1/acl/bootstrap", {"BootstrapSecret": ROOT}).json["SecretID"] == ROOT
        for name in ("web", "api", "db"):
            body = {"Name": name, "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}
            assert running.as_(ROOT, "PUT", "/v1/agent/service/register", body).status == 200
        for key in ("a/one", "a/two", "b/one"):
            assert running.as_(ROOT, "PUT", f"/v1/kv/{key}", b"x").json is True
        yield running


def token(consul: Consul, rules: str, **more: object) -> str:
    """The secret of a token with one policy."""
    policies = consul.as_(ROOT, "GET", "/v1/acl/policies").json
    made = consul.as_(ROOT, "PUT", "/v1/acl/policy", {"Name": f"p{len(policies)}", "Rules": rules})
    assert made.status == 200, made.text
    answer = consul.as_(ROOT, "PUT", "/v1/acl/token", {"Policies": [{"ID": made.json["ID"]}], **more})
    return str(answer.json["SecretID"])


def denied(answer: Answer, permission: str, name: str = "") -> bool:
    where = f' on "{name}"' if name else ""
    return answer.status == 403 and f" lacks permission '{permission}'{where}" in answer.text


def test_bootstrap_can_be_done_once(consul: Consul) -> None:
    again = consul.put("/v1/acl/bootstrap")
    assert again.status == 403
    assert again.text.startswith("Permission denied: ACL bootstrap no longer allowed (reset index: ")
    own = consul.as_(ROOT, "GET", "/v1/acl/token/self").json
    assert own["SecretID"] == ROOT
    assert own["Policies"] == [{"ID": "00000000-0000-0000-0000-000000000001", "Name": "global-management"}]
    assert set(own) == {
        "AccessorID", "SecretID", "Description", "Policies", "Local", "CreateTime", "Hash", "CreateIndex", "ModifyIndex",
    }  # fmt: skip


def test_a_token_is_found_in_three_places_and_an_unknown_one_is_refused(consul: Consul) -> None:
    assert consul.get(f"/v1/kv/a/one?raw&token={ROOT}").body == b"x"
    assert consul.ask("GET", "/v1/kv/a/one?raw", headers={"Authorization": f"Bearer {ROOT}"}).body == b"x"
    assert consul.as_(ROOT, "GET", "/v1/kv/a/one?raw").body == b"x"
    unknown = consul.as_("99999999-2222-4333-8444-555555555555", "GET", "/v1/kv/a/one")
    assert (unknown.status, unknown.text) == (403, "ACL not found")
    anonymous = consul.get("/v1/kv/a/one")
    assert anonymous.text == (
        "Permission denied: anonymous token lacks permission 'key:read' on \"a/one\". "
        "The anonymous token is used implicitly when a request does not specify a token."
    )


def test_who_asks_without_a_token_sees_nothing_and_is_told_what_is_missing(consul: Consul) -> None:
    assert consul.get("/v1/catalog/services").json == {}
    assert consul.get("/v1/catalog/nodes").json == []
    assert consul.get("/v1/agent/services").json == {}
    assert consul.get("/v1/agent/checks").json == {}
    assert consul.get("/v1/health/state/any").json == []
    assert consul.get("/v1/catalog/node/n1").json is None
    assert denied(consul.get("/v1/agent/self"), "agent:read", "n1")
    assert denied(consul.get("/v1/acl/tokens"), "acl:read")
    assert denied(consul.put("/v1/agent/service/register", {"Name": "evil"}), "service:write", "evil")
    assert denied(consul.put("/v1/agent/maintenance?enable=true"), "node:write", "n1")
    assert denied(consul.put("/v1/event/fire/boo"), "event:write", "boo")
    assert denied(consul.put("/v1/session/create", {}), "session:write", "n1")
    assert "x-consul-results-filtered-by-acls" not in consul.get("/v1/catalog/services").headers
    assert consul.get("/v1/status/leader").status == 200


def test_lists_are_shortened_and_say_so(consul: Consul) -> None:
    secret = token(consul, 'service_prefix "" { policy = "read" } service "db" { policy = "deny" } node_prefix "" { policy = "read" }')
    services = consul.as_(secret, "GET", "/v1/catalog/services")
    assert set(services.json) == {"api", "consul", "web"}
    assert services.headers["x-consul-results-filtered-by-acls"] == "true"
    assert consul.as_(secret, "GET", "/v1/health/service/db").json == []
    full = consul.as_(secret, "GET", "/v1/health/service/web")
    assert [entry["Service"]["ID"] for entry in full.json] == ["web"]
    assert "x-consul-results-filtered-by-acls" not in full.headers
    assert {check["ServiceName"] for check in consul.as_(secret, "GET", "/v1/health/state/any").json} == {"", "api", "web"}
    assert set(consul.as_(secret, "GET", "/v1/catalog/node/n1").json["Services"]) == {"api", "consul", "web"}
    assert len(consul.as_(ROOT, "GET", "/v1/health/state/any").json) == 4


def test_the_longest_prefix_speaks_and_the_very_name_before_all(consul: Consul) -> None:
    rules = """
    # keys below a/ may be written, but not this one
    key_prefix "" { policy = "deny" }
    key_prefix "a/" { policy = "write" }
    key "a/two" { policy = "read" }
    """
    secret = token(consul, rules)
    assert consul.as_(secret, "PUT", "/v1/kv/a/one", b"y").json is True
    assert denied(consul.as_(secret, "PUT", "/v1/kv/a/two", b"y"), "key:write", "a/two")
    assert consul.as_(secret, "GET", "/v1/kv/a/two").status == 200
    assert denied(consul.as_(secret, "GET", "/v1/kv/b/one"), "key:read", "b/one")
    assert [entry["Key"] for entry in consul.as_(secret, "GET", "/v1/kv/?recurse").json] == ["a/one", "a/two"]
    assert consul.as_(secret, "GET", "/v1/kv/b/?recurse").status == 404
    assert denied(consul.as_(secret, "DELETE", "/v1/kv/a/?recurse"), "key:write", "a/")


def test_transactions_need_what_each_of_their_operations_needs(consul: Consul) -> None:
    secret = token(consul, 'key_prefix "a/" { policy = "write" }')
    mine = {"KV": {"Verb": "set", "Key": "a/one", "Value": "eA=="}}
    assert consul.as_(secret, "PUT", "/v1/txn", [mine]).status == 200
    other = {"KV": {"Verb": "set", "Key": "b/one", "Value": "eA=="}}
    assert denied(consul.as_(secret, "PUT", "/v1/txn", [mine, other]), "key:write", "b/one")
    assert denied(consul.as_(secret, "PUT", "/v1/txn", [{"KV": {"Verb": "get", "Key": "b/one"}}]), "key:read", "b/one")


def test_nobody_puts_a_check_in_place_of_one_of_a_service_that_is_another_s(consul: Consul) -> None:
    web = token(consul, 'service "web" { policy = "write" }')
    over = {"CheckID": "service:db", "Name": "mine", "ServiceID": "web", "TTL": "1h", "Status": "critical"}
    service = {"Name": "web", "Port": 80, "Checks": [over]}
    entered = {"Node": "n1", "SkipNodeUpdate": True, "Check": over}
    done = [{"Check": {"Verb": "set", "Check": {"Node": "n1", **over}}}]
    requests = {"agent/check/register": over, "agent/service/register": service, "catalog/register": entered, "txn": done}
    for path, body in requests.items():
        assert denied(consul.as_(web, "PUT", f"/v1/{path}", body), "service:write", "db"), path
    assert consul.as_(ROOT, "GET", "/v1/agent/checks").json["service:db"]["ServiceID"] == "db"
    assert consul.as_(web, "PUT", "/v1/agent/check/register", {**over, "CheckID": "mine"}).status == 200


def test_roles_and_identities_give_rules(consul: Consul) -> None:
    policy = consul.as_(
        ROOT, "PUT", "/v1/acl/policy", {"Name": "keys", "Rules": json.dumps({"key_prefix": {"a/": {"policy": "read"}}})}
    ).json
    role = consul.as_(ROOT, "PUT", "/v1/acl/role", {"Name": "reader", "Policies": [{"Name": "keys"}]}).json
    assert role["Policies"] == [{"ID": policy["ID"], "Name": "keys"}]
    secret = consul.as_(ROOT, "PUT", "/v1/acl/token", {"Roles": [{"Name": "reader"}]}).json["SecretID"]
    assert consul.as_(secret, "GET", "/v1/kv/a/one").status == 200
    consul.as_(ROOT, "DELETE", f"/v1/acl/policy/{policy['ID']}")
    assert denied(consul.as_(secret, "GET", "/v1/kv/a/one"), "key:read", "a/one")
    identity = {"ServiceIdentities": [{"ServiceName": "shop"}], "NodeIdentities": [{"NodeName": "n1", "Datacenter": "dc1"}]}
    secret = consul.as_(ROOT, "PUT", "/v1/acl/token", identity).json["SecretID"]
    assert consul.as_(secret, "PUT", "/v1/agent/service/register", {"Name": "shop"}).status == 200
    assert denied(consul.as_(secret, "PUT", "/v1/agent/service/register", {"Name": "web"}), "service:write", "web")
    assert consul.as_(secret, "PUT", "/v1/agent/service/deregister/shop").status == 200
    assert consul.as_(secret, "PUT", "/v1/agent/maintenance?enable=false").status == 200


def test_tokens_are_listed_cloned_changed_and_taken_back(consul: Consul) -> None:
    accessor = "00000000-dead-4eef-8000-000000000000"
    made = consul.as_(ROOT, "PUT", "/v1/acl/token", {"AccessorID": accessor, "Description": "first"}).json
    assert made["AccessorID"] == accessor
    read = consul.as_(ROOT, "GET", f"/v1/acl/token/{accessor}").json
    assert {**read, "SecretID": ""} == {**made, "SecretID": ""}
    assert consul.as_(ROOT, "GET", f"/v1/acl/token/{accessor}?expanded").json["ExpandedPolicies"] == []
    changed = consul.as_(ROOT, "PUT", f"/v1/acl/token/{accessor}", {"Description": "second"}).json
    assert (changed["Description"], changed["ModifyIndex"] > made["ModifyIndex"]) == ("second", True)
    clone = consul.as_(ROOT, "PUT", f"/v1/acl/token/{accessor}/clone", {"Description": "third"}).json
    listed = {t["AccessorID"]: t for t in consul.as_(ROOT, "GET", "/v1/acl/tokens").json}
    assert {accessor, clone["AccessorID"], "00000000-0000-0000-0000-000000000002"} <= set(listed)
    assert listed["00000000-0000-0000-0000-000000000002"]["SecretID"] == "anonymous"
    assert consul.as_(clone["SecretID"], "GET", "/v1/acl/token/self").json["Description"] == "third"
    assert consul.as_(ROOT, "DELETE", f"/v1/acl/token/{clone['AccessorID']}").json is True
    assert consul.as_(clone["SecretID"], "GET", "/v1/acl/token/self").text == "ACL not found"
    assert consul.as_(ROOT, "GET", f"/v1/acl/token/{clone['AccessorID']}").status == 404
    again = consul.as_(ROOT, "PUT", "/v1/acl/token", {"AccessorID": accessor})
    assert (again.status, again.text) == (500, "Invalid Token: AccessorID is already in use")


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("policy", {"Name": "x y"}, "Invalid Policy: invalid Name. Only alphanumeric characters, '-' and '_' are allowed"),
        ("policy", {"Name": "ok", "Rules": 'key "a" { policy = "eat" }'}, "Failed to parse ACL rules: "),
        ("policy", {"Name": "ok", "Rules": "key {"}, "Failed to parse ACL rules: "),
        ("policy", {"Name": "ok", "Rules": 'nothing "a" { policy = "read" }'}, "Failed to parse ACL rules: "),
        ("policy", {"Name": "global-management"}, 'Invalid Policy: A Policy with Name "global-management" already exists'),
        ("token", {"Policies": [{"Name": "none"}]}, "No such ACL policy with name 'none'"),
        ("token", {"SecretID": "short"}, "Invalid Token: SecretID is not a valid UUID"),
        ("token", {"ExpirationTTL": "1s"}, "Invalid Token: ExpirationTTL must be between 1m0s and 24h0m0s, not 1s"),
        ("role", {"Name": ""}, "Invalid Role: "),
    ],
)
def test_what_cannot_be_is_refused(consul: Consul, path: str, body: object, text: str) -> None:
    answer = consul.as_(ROOT, "PUT", f"/v1/acl/{path}", body)
    assert answer.status in (400, 500)
    assert answer.text.startswith(text)


def test_who_may_only_read_access_control_sees_no_secret(consul: Consul) -> None:
    secret = token(consul, 'acl = "read"')
    shown = consul.as_(secret, "GET", "/v1/acl/tokens").json
    assert {t["SecretID"] for t in shown} <= {"<hidden>", "anonymous"}
    assert denied(consul.as_(secret, "PUT", "/v1/acl/token", {}), "acl:write")


def test_no_secret_lies_in_the_store(consul: Consul) -> None:
    secret = token(consul, 'operator = "read"')
    values = [row.value for row in consul.call(rows_of(consul))]
    assert any(b"SecretHash" in value for value in values)
    assert not any(secret.encode() in value or ROOT.encode() in value for value in values)


async def rows_of(consul: Consul) -> list[object]:
    listing = await consul.store.range("consul/acl/")
    return list(listing.entries)


def test_with_nothing_asked_everything_is_allowed_but_access_control_itself(tmp_path: Path) -> None:
    with running_consul(tmp_path) as free:
        assert free.put("/v1/kv/a", b"x").json is True
        assert denied(free.get("/v1/acl/tokens"), "acl:read")
        assert free.as_("nobody", "GET", "/v1/kv/a").status == 403
        root = free.put("/v1/acl/bootstrap").json["SecretID"]
        made = free.as_(root, "PUT", "/v1/acl/policy", {"Name": "no", "Rules": 'key_prefix "" { policy = "deny" }'}).json
        anonymous = "/v1/acl/token/00000000-0000-0000-0000-000000000002"
        assert free.as_(root, "PUT", anonymous, {"Policies": [{"ID": made["ID"]}]}).status == 200
        assert denied(free.get("/v1/kv/a"), "key:read", "a")


def test_where_access_is_not_controlled_tokens_do_not_matter(tmp_path: Path) -> None:
    with running_consul(tmp_path, acl="off") as free:
        assert free.as_("nobody", "PUT", "/v1/kv/a", b"x").json is True
        off = free.get("/v1/acl/tokens")
        assert (off.status, off.text) == (401, "ACL support disabled")


@pytest.mark.parametrize("acl", ["allow", "off", "deny"])
def test_keys_go_to_other_machines_only_for_a_token_where_nobody_else_can_make_one(tmp_path: Path, acl: str) -> None:
    with running_consul(tmp_path, acl=acl, remote=True, authority=Authority(tmp_path / "ca", "mesh.test")) as open_to_all:
        path = "/v1/agent/connect/ca/leaf/web"
        refused = open_to_all.get(path)
        assert refused.status == 403
        assert b"PRIVATE KEY" not in refused.body
        if acl != "off":
            root = open_to_all.put("/v1/acl/bootstrap").json["SecretID"]
            assert (b"PRIVATE KEY" in open_to_all.as_(root, "GET", path).body) is (acl == "deny")
