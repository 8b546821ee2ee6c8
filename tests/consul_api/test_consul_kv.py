"""Consul's key-value store, sessions, transactions and events."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.consul import Consul, running_consul


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    with running_consul(tmp_path) as running:
        yield running


def _session(consul: Consul, **more: object) -> str:
    answer = consul.put("/v1/session/create", {"LockDelay": "0s", **more})
    assert answer.status == 200, answer.text
    return str(answer.json["ID"])


def test_a_value(consul: Consul) -> None:
    missing = consul.get("/v1/kv/a/b")
    assert (missing.status, missing.body) == (404, b"")
    assert missing.index >= 1
    assert consul.put("/v1/kv/a/b?flags=42", b"\x00\xff text").json is True
    (entry,) = consul.get("/v1/kv/a/b").json
    assert entry["Key"] == "a/b"
    assert (entry["Flags"], entry["LockIndex"], base64.b64decode(entry["Value"])) == (42, 0, b"\x00\xff text")
    assert entry["CreateIndex"] == entry["ModifyIndex"]
    assert "Session" not in entry
    raw = consul.get("/v1/kv/a/b?raw")
    assert (raw.body, raw.headers["x-content-type-options"]) == (b"\x00\xff text", "nosniff")
    assert consul.put("/v1/kv/empty", b"").json is True
    assert consul.get("/v1/kv/empty").json[0]["Value"] is None
    assert consul.ask("DELETE", "/v1/kv/a/b").json is True
    assert consul.get("/v1/kv/a/b").status == 404


def test_many_values(consul: Consul) -> None:
    assert consul.get("/v1/kv/?keys").json == []
    for key in ("a/x", "a/y/1", "a/y/2", "b"):
        consul.put(f"/v1/kv/{key}", b"v")
    assert [entry["Key"] for entry in consul.get("/v1/kv/a/?recurse").json] == ["a/x", "a/y/1", "a/y/2"]
    assert consul.get("/v1/kv/a/?keys&separator=/").json == ["a/x", "a/y/"]
    assert consul.get("/v1/kv/?keys&seperator=/").json == ["a/", "b"]
    assert consul.get("/v1/kv/none?keys").status == 404
    before = consul.get("/v1/kv/a/?recurse").index
    assert consul.ask("DELETE", "/v1/kv/a/y?recurse").json is True
    after = consul.get("/v1/kv/a/?recurse")
    assert [entry["Key"] for entry in after.json] == ["a/x"]
    assert after.index > before


def test_check_and_set(consul: Consul) -> None:
    assert consul.put("/v1/kv/k?cas=0", b"1").json is True
    assert consul.put("/v1/kv/k?cas=0", b"2").json is False
    index = consul.get("/v1/kv/k").json[0]["ModifyIndex"]
    assert consul.put(f"/v1/kv/k?cas={index - 1}", b"2").json is False
    assert consul.put(f"/v1/kv/k?cas={index}", b"2").json is True
    assert consul.ask("DELETE", f"/v1/kv/k?cas={index}").json is False
    assert consul.ask("DELETE", "/v1/kv/k?cas=0").json is False
    index = consul.get("/v1/kv/k").json[0]["ModifyIndex"]
    assert consul.ask("DELETE", f"/v1/kv/k?cas={index}").json is True


def test_locks(consul: Consul) -> None:
    one, two = _session(consul), _session(consul)
    assert consul.put(f"/v1/kv/lock?acquire={one}", b"one").json is True
    assert consul.put(f"/v1/kv/lock?acquire={one}", b"one again").json is True
    assert consul.put(f"/v1/kv/lock?acquire={two}", b"two").json is False
    assert consul.put(f"/v1/kv/lock?release={two}", b"").json is False
    (entry,) = consul.get("/v1/kv/lock").json
    assert (entry["Session"], entry["LockIndex"]) == (one, 1)
    assert consul.put(f"/v1/session/destroy/{one}").json is True
    assert consul.put(f"/v1/session/destroy/{one}").json is True
    assert "Session" not in consul.get("/v1/kv/lock").json[0]
    assert consul.put(f"/v1/kv/lock?acquire={two}", b"two").json is True
    assert consul.get("/v1/kv/lock").json[0]["LockIndex"] == 2
    assert consul.put(f"/v1/kv/lock?acquire={one}", b"").status == 500
    assert consul.put(f"/v1/kv/lock?release={two}", b"").json is True


def test_a_lock_is_delayed_after_its_session_ended(consul: Consul) -> None:
    one, two = _session(consul, LockDelay="60s"), _session(consul)
    consul.put(f"/v1/kv/lock?acquire={one}", b"")
    consul.put(f"/v1/session/destroy/{one}")
    assert consul.put(f"/v1/kv/lock?acquire={two}", b"").json is False
    assert consul.put(f"/v1/kv/other?acquire={two}", b"").json is True


def test_a_session_may_take_its_keys_with_it(consul: Consul) -> None:
    session = _session(consul, Behavior="delete")
    consul.put(f"/v1/kv/mine?acquire={session}", b"")
    consul.put(f"/v1/session/destroy/{session}")
    assert consul.get("/v1/kv/mine").status == 404


def test_a_session_ends_with_the_check_it_leans_on(consul: Consul) -> None:
    consul.put("/v1/agent/check/register", {"name": "mine", "ttl": "10m", "status": "passing"})
    session = _session(consul, NodeChecks=["mine"])
    consul.put(f"/v1/kv/lock?acquire={session}", b"")
    consul.put("/v1/agent/check/fail/mine")
    assert consul.get(f"/v1/session/info/{session}").json == []
    assert "Session" not in consul.get("/v1/kv/lock").json[0]
    refused = consul.put("/v1/session/create", {"NodeChecks": ["mine"]})
    assert (refused.status, refused.text) == (500, "Check 'mine' is in critical state")


def test_what_a_session_looks_like(consul: Consul) -> None:
    session = _session(consul, Name="me", TTL="10s", LockDelay=15)
    (shown,) = consul.get(f"/v1/session/info/{session}").json
    shown.pop("CreateIndex"), shown.pop("ModifyIndex")
    assert shown == {
        "ID": session,
        "Name": "me",
        "Node": "n1",
        "LockDelay": 15_000_000_000,
        "Behavior": "release",
        "TTL": "10s",
        "NodeChecks": ["serfHealth"],
        "ServiceChecks": [],
    }
    assert consul.put(f"/v1/session/renew/{session}").json[0]["ID"] == session
    assert consul.put("/v1/session/renew/none").status == 404
    assert [s["ID"] for s in consul.get("/v1/session/list").json] == [session]
    assert consul.get("/v1/session/node/far").json == []


def test_a_transaction_tells_what_it_wrote_with_its_index(consul: Consul) -> None:
    operations = [{"KV": {"Verb": "set", "Key": "told", "Value": "aGk="}}, {"KV": {"Verb": "get", "Key": "told"}}]
    written, read = (result["KV"] for result in consul.put("/v1/txn", operations).json["Results"])
    (now,) = consul.get("/v1/kv/told").json
    assert read == now
    assert written == {**now, "Value": None}


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ({"Verb": "set"}, {"Verb": "cas", "Index": 0}, 409),
        ({"Verb": "set"}, {"Verb": "check-index", "Index": 0}, 409),
        ({"Verb": "set"}, {"Verb": "delete-cas", "Index": 0}, 409),
        ({"Verb": "delete"}, {"Verb": "cas", "Index": 0}, 200),
    ],
)
def test_a_transaction_sees_what_it_wrote_itself(consul: Consul, first: dict[str, object], second: dict[str, object], status: int) -> None:
    operations = [{"KV": {"Key": "twice", "Value": "aGk=", **operation}} for operation in (first, second)]
    assert consul.put("/v1/txn", operations).status == status
    assert consul.get("/v1/kv/twice").status == (200 if status == 200 else 404)


WRONG = [
    ("PUT", "/v1/kv/", b"x", 400),
    ("GET", "/v1/kv/", None, 400),
    ("PUT", "/v1/kv/k?cas=1&acquire=x", b"", 400),
    ("PUT", "/v1/kv/k?cas=x", b"", 400),
    ("PUT", "/v1/kv/k?flags=-1", b"", 400),
    ("PUT", "/v1/kv/k", b"x" * (512 * 1024 + 1), 413),
    ("DELETE", "/v1/kv/k?recurse&cas=1", None, 400),
    ("PUT", "/v1/kv/%ff", b"", 400),
    ("PUT", "/v1/session/create", {"TTL": "1s"}, 400),
    ("PUT", "/v1/session/create", {"Behavior": "x"}, 400),
    ("PUT", "/v1/session/create", {"Node": "none"}, 500),
    ("PUT", "/v1/session/create", {"NodeChecks": ["none"]}, 500),
    ("PUT", "/v1/txn", [{"KV": {"Verb": "odd", "Key": "k"}}], 409),
    ("PUT", "/v1/txn", [{"KV": {"Verb": "get", "Key": "none"}}], 409),
    ("PUT", "/v1/txn", [{"KV": {"Verb": "get", "Key": "k"}}] * 129, 413),
    ("PUT", "/v1/txn", {"KV": {}}, 400),
    ("PUT", "/v1/txn", [{"KV": {"Verb": "set", "Key": "k", "Value": "?"}}], 400),
    ("PUT", "/v1/txn", [{"Node": {}}], 400),
    ("PUT", "/v1/event/fire/", b"", 400),
]


def test_what_cannot_be_done(consul: Consul) -> None:
    assert [(path, consul.ask(method, path, body).status) for method, path, body, _ in WRONG] == [(path, s) for _, path, _, s in WRONG]


def test_transactions_are_done_as_a_whole_or_not_at_all(consul: Consul) -> None:
    value = base64.b64encode(b"v").decode()
    ops = [{"KV": {"Verb": "set", "Key": "a", "Value": value}}, {"KV": {"Verb": "set", "Key": "b", "Value": value, "Flags": 7}}]
    done = consul.put("/v1/txn", [*ops, {"KV": {"Verb": "get-tree", "Key": ""}}])
    assert (done.status, done.json["Errors"]) == (200, None)
    kv = [result["KV"] for result in done.json["Results"]]
    assert [(k["Key"], k["Value"]) for k in kv] == [("a", None), ("b", None), ("a", value), ("b", value)]
    assert kv[0]["ModifyIndex"] == consul.get("/v1/kv/a").json[0]["ModifyIndex"]
    failed = consul.put("/v1/txn", [{"KV": {"Verb": "delete", "Key": "a"}}, {"KV": {"Verb": "check-not-exists", "Key": "b"}}])
    assert (failed.status, failed.json["Errors"]) == (409, [{"OpIndex": 1, "What": 'key "b" exists'}])
    assert consul.get("/v1/kv/a").status == 200
    read = consul.put("/v1/txn", [{"KV": {"Verb": "get", "Key": "b"}}])
    assert (read.json["Results"][0]["KV"]["Flags"], read.headers["x-consul-knownleader"]) == (7, "true")
    assert consul.put("/v1/txn", [{"KV": {"Verb": "delete-tree", "Key": ""}}]).json == {"Results": [], "Errors": None}
    assert consul.get("/v1/kv/?keys").json == []


def test_events(consul: Consul) -> None:
    before = consul.get("/v1/event/list")
    assert before.json == []
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(consul.get, f"/v1/event/list?name=deploy&index={before.index}&wait=20s")
        while not consul.registry.waiting.count():
            pass
        fired = consul.put("/v1/event/fire/deploy?service=web", b"now").json
        (event,) = waiting.result(60).json
    assert (event["ID"], event["ServiceFilter"], base64.b64decode(event["Payload"]), event["LTime"]) == (fired["ID"], "web", b"now", 1)
    assert consul.get("/v1/event/list?name=other").json == []


def test_a_waiting_reader_of_a_prefix_hears_of_deletions(consul: Consul) -> None:
    consul.put("/v1/kv/dir/a", b"1")
    index = consul.get("/v1/kv/dir/?recurse").index
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(consul.get, f"/v1/kv/dir/?recurse&index={index}&wait=20s")
        while not consul.registry.waiting.count():
            pass
        consul.put("/v1/kv/elsewhere", b"")
        assert not waiting.done()
        consul.ask("DELETE", "/v1/kv/dir/a")
        answer = waiting.result(60)
    assert answer.status == 404
    assert answer.index > index


def test_only_one_of_many_gets_the_lock(consul: Consul) -> None:
    sessions = [_session(consul) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda s: consul.put(f"/v1/kv/lock?acquire={s}", b"").json, sessions))
    assert won.count(True) == 1
    assert consul.get("/v1/kv/lock").json[0]["Session"] == sessions[won.index(True)]


def test_values_and_sessions_survive(tmp_path: Path) -> None:
    with running_consul(tmp_path) as first:
        session = _session(first, TTL="1h")
        first.put(f"/v1/kv/lock?acquire={session}&flags=3", b"v")
        before = first.get("/v1/kv/?recurse")
    with running_consul(tmp_path) as second:
        after = second.get("/v1/kv/?recurse")
        assert after.json == before.json
        assert after.index >= before.index
        assert [s["ID"] for s in second.get("/v1/session/list").json] == [session]
