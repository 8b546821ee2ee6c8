"""Whatever is asked, in whatever order: answers never fail, indices never fall, and no lock has two holders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.consul import Consul, running_consul
from support.eventually import eventually
from tulle.registry import durations
from tulle.registry.waiting import Topic, Waiting
from tulle.resources import bexpr
from tulle.server.consul.filters import ENTRY


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul")) as running:
        yield running


PUTS = (
    "agent/service/register", "agent/check/register", "agent/maintenance", "catalog/register", "catalog/deregister",
    "session/create", "txn", "agent/check/update/x", "agent/check/pass/x", "kv/x", "event/fire/x", "session/renew/x",
    "session/destroy/x", "agent/service/deregister/x",
)  # fmt: skip
GETS = (
    "agent/self", "agent/services", "agent/checks", "agent/service/x", "catalog/nodes", "catalog/services", "catalog/service/x", "kv/x",
    "catalog/node/x", "health/service/x", "health/state/any", "health/checks/x", "session/list", "event/list", "agent/health/service/id/x",
)  # fmt: skip
NAMES = st.sampled_from(
    ["Name", "ID", "name", "Port", "Tags", "Meta", "Check", "Checks", "TTL", "Interval", "HTTP", "Status", "Node", "Address", "Service",
     "KV", "Verb", "Key", "Value", "Weights", "Passing", "TaggedAddresses",
     "Connect", "SidecarService", "Proxy", "LockDelay", "NodeChecks", "Header"]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["10s", "x", "passing", "n1", "set", "10.0.0.1"]),
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12)
BODIES = st.one_of(st.binary(max_size=40), st.builds(lambda tree: json.dumps(tree).encode(), TREES))
PARAMETERS = st.dictionaries(
    st.sampled_from(
        ["filter", "tag", "node-meta", "passing", "cas", "flags", "acquire", "recurse", "keys", "separator", "raw", "dc", "near", "enable"]
    ),
    st.text(max_size=12).filter(lambda text: "\ud800" not in text),
    max_size=3,
)
REFUSALS = ("Must provide", "Missing", "No path to", "Failed to create", "invalid session", "failed inserting", "check's node", "Check '")


@given(put=st.sampled_from(PUTS), body=BODIES, get=st.sampled_from(GETS), parameters=PARAMETERS)
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nothing_makes_it_fail(consul: Consul, put: str, body: bytes, get: str, parameters: dict[str, str]) -> None:
    query = "&".join(f"{name}={quote(value, safe='', errors='replace')}" for name, value in parameters.items())
    for answer in (consul.put(f"/v1/{put}?{query}", body), consul.get(f"/v1/{get}?{query}")):
        assert answer.status != 500 or answer.text.startswith(REFUSALS), answer.text
        if answer.headers["content-type"] == "application/json" and answer.body:
            json.loads(answer.body)


KEYS = st.sampled_from(["a", "a/b", "a/c", "b"])
STEPS = st.lists(st.tuples(st.sampled_from(["put", "delete", "tree", "service", "gone", "fail", "pass"]), KEYS), min_size=1, max_size=12)
WATCHED = ("kv/a?recurse", "kv/a/b", "kv/?keys", "health/service/web", "catalog/services", "health/state/any", "catalog/node/n1")


@given(steps=STEPS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_an_index_never_falls_and_rises_with_every_change_that_shows(consul: Consul, steps: list[tuple[str, str]]) -> None:
    def look() -> list[Any]:
        return [consul.get(f"/v1/{path}") for path in WATCHED]

    before = look()
    for verb, key in steps:
        _do(consul, verb, key)
        after = look()
        for old, new in zip(before, after, strict=True):
            assert new.index >= old.index
            assert new.body == old.body or new.index > old.index
        before = after


def _do(consul: Consul, verb: str, key: str) -> None:
    if verb == "put":
        consul.put(f"/v1/kv/{key}", key.encode())
    elif verb in ("delete", "tree"):
        consul.ask("DELETE", f"/v1/kv/{key}{'?recurse' if verb == 'tree' else ''}")
    elif verb == "service":
        consul.put("/v1/agent/service/register", {"Name": "web", "Tags": [key], "Check": {"TTL": "10m"}})
    elif verb == "gone":
        consul.put("/v1/agent/service/deregister/web")
    else:
        consul.put(f"/v1/agent/check/{verb}/service:web?note={key}")


@given(
    changes=st.lists(st.lists(st.sampled_from([("kv", "a"), ("kv", "ab"), ("kv", "b"), ("nodes",)]), min_size=1, max_size=3), max_size=12)
)
def test_no_change_is_missed_by_those_who_wait(changes: list[list[Topic]]) -> None:
    async def run() -> None:
        waiting = Waiting()
        waiters = {topic: waiting.wait([topic]) for topic in (("kv", "a"), ("kv*", "a"), ("kv*", ""), ("nodes",), ("never",))}
        for index, topics in enumerate(changes, 10):
            waiting.changed([(topic, index) for topic in topics])
            assert all(waiting.index([topic]) == index for topic in topics)
        touched = {topic for topics in changes for topic in topics}
        assert waiters["kv", "a"].done() == (("kv", "a") in touched)
        assert waiters["kv*", "a"].done() == bool(touched & {("kv", "a"), ("kv", "ab")})
        assert waiters["kv*", ""].done() == any(topic[0] == "kv" for topic in touched)
        assert waiters["nodes",].done() == (("nodes",) in touched)
        assert not waiters["never",].done()
        waiting.close()
        await asyncio.wait_for(waiters["never",], 60)
        assert waiting.count() == 0

    asyncio.run(run())


@given(text=st.text(alphabet='ab."()[]!= notinaremptymatchesorcontai`\\', max_size=60))
def test_a_filter_is_read_or_refused(text: str) -> None:
    try:
        test = bexpr.compiled(text, ENTRY)
    except bexpr.FilterError:
        return
    assert test({"Node": {}, "Service": {}, "Checks": []}) in (True, False)


@given(milliseconds=st.integers(0, 10**9))
def test_durations_are_read_as_they_are_written(milliseconds: int) -> None:
    assert round(durations.parse(durations.show(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (90, "1m30s"), (3600, "1h0m0s"), (0.25, "250ms"), (1.5, "1.5s"), (0, "0s")])
def test_durations_look_like_those_of_go(seconds: float, text: str) -> None:
    assert durations.show(seconds) == text


def test_watchers_leave_nothing_behind(tmp_path: Path) -> None:
    with running_consul(tmp_path) as running:
        index = running.get("/v1/catalog/nodes").index
        assert running.get(f"/v1/catalog/nodes?index={index}&wait=20ms").status == 200
        asyncio.run(eventually(lambda: running.registry.waiting.count() == 0))
