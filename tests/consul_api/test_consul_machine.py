"""Keys, sessions and locks in whatever order, beside a model of them; and readers who wait while many write."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from support.consul import Consul, running_consul
from support.raw_http import Response, read_response

KEYS = st.sampled_from(["a", "a/b", "a/c", "b"])
VALUES = st.binary(max_size=3)


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul")) as running:
        yield running


@dataclass(frozen=True)
class Held:
    """A key as the model has it."""

    value: bytes
    session: str = ""
    locked: int = 0
    flags: int = 0


class KeyMachine(RuleBasedStateMachine):
    consul: Consul
    runs = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.root = f"machine/{next(self.runs)}/"
        self.check = f"check-{self.root}"
        self.keys: dict[str, Held] = {}
        self.sessions: dict[str, tuple[str, bool]] = {}
        """What becomes of their keys, and whether they lean on the check."""
        self.index = 0
        self.dirty = False
        assert self.consul.put("/v1/agent/check/register", {"Name": self.check, "TTL": "1h", "Status": "passing"}).status == 200

    def write(self, key: str, held: Held | None) -> None:
        self.dirty = self.dirty or self.keys.get(key) != held
        if held is None:
            self.keys.pop(key, None)
        else:
            self.keys[key] = held

    def ask(self, method: str, key: str, query: str = "", body: bytes | None = None) -> Any:
        answer = self.consul.ask(method, f"/v1/kv/{self.root}{key}?{query}", body)
        assert answer.status == 200, answer.text
        return answer.json

    def entries(self) -> dict[str, dict[str, Any]]:
        answer = self.consul.get(f"/v1/kv/{self.root}?recurse")
        assert answer.index >= self.index, "an index never falls"
        assert answer.index > self.index or not self.dirty, "an index rises with every change"
        self.index, self.dirty = answer.index, False
        return {entry["Key"].removeprefix(self.root): entry for entry in answer.json} if answer.status == 200 else {}

    # === keys

    @rule(key=KEYS, value=VALUES, flags=st.integers(0, 2))
    def put(self, key: str, value: bytes, flags: int) -> None:
        assert self.ask("PUT", key, f"flags={flags}", value) is True
        self.write(key, replace(self.keys.get(key, Held(b"")), value=value, flags=flags))

    @rule(key=KEYS, value=VALUES, off=st.sampled_from([0, 0, -1, 1]), new=st.booleans())
    def put_if(self, key: str, value: bytes, off: int, new: bool) -> None:
        entry = self.entries().get(key)
        actual = entry["ModifyIndex"] if entry else 0
        given = 0 if new else max(0, actual + off)
        assert self.ask("PUT", key, f"cas={given}", value) is (given == actual)
        if given == actual:
            self.write(key, replace(self.keys.get(key, Held(b"")), value=value, flags=0))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.ask("DELETE", key) is True
        self.write(key, None)

    @rule(key=KEYS, off=st.sampled_from([0, 1]))
    def delete_if(self, key: str, off: int) -> None:
        entry = self.entries().get(key)
        given = entry["ModifyIndex"] + off if entry else 7
        assert self.ask("DELETE", key, f"cas={given}") is (entry is None or off == 0)
        if off == 0:
            self.write(key, None)

    @rule(key=KEYS)
    def delete_tree(self, key: str) -> None:
        assert self.ask("DELETE", key, "recurse") is True
        for under in [held for held in self.keys if held.startswith(key)]:
            self.write(under, None)

    # === sessions

    @rule(behavior=st.sampled_from(["release", "delete"]), leans=st.booleans())
    def create(self, behavior: str, leans: bool) -> None:
        body = {"Behavior": behavior, "LockDelay": "0s", "NodeChecks": [self.check] if leans else []}
        answer = self.consul.put("/v1/session/create", body)
        assert answer.status == 200, answer.text
        self.sessions[answer.json["ID"]] = (behavior, leans)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def destroy(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.sessions)))
        assert self.consul.put(f"/v1/session/destroy/{session}").json is True
        self.end(session)

    @rule()
    def fail(self) -> None:
        for status in ("fail", "pass"):
            assert self.consul.put(f"/v1/agent/check/{status}/{self.check.replace('/', '%2F')}").status == 200
        for session in [session for session, (_, leans) in self.sessions.items() if leans]:
            self.end(session)

    def end(self, session: str) -> None:
        behavior, _ = self.sessions.pop(session)
        for key in [key for key, held in self.keys.items() if held.session == session]:
            self.write(key, None if behavior == "delete" else replace(self.keys[key], session=""))

    @precondition(lambda self: self.sessions)
    @rule(key=KEYS, data=st.data(), value=VALUES)
    def acquire(self, key: str, data: st.DataObject, value: bytes) -> None:
        session = data.draw(st.sampled_from(sorted(self.sessions)))
        before = self.keys.get(key, Held(b""))
        free = before.session in ("", session)
        assert self.ask("PUT", key, f"acquire={session}", value) is free
        if free:
            self.write(key, Held(value, session, before.locked + (before.session == "")))

    @precondition(lambda self: self.sessions)
    @rule(key=KEYS, data=st.data(), value=VALUES)
    def release(self, key: str, data: st.DataObject, value: bytes) -> None:
        session = data.draw(st.sampled_from(sorted(self.sessions)))
        before = self.keys.get(key, Held(b""))
        assert self.ask("PUT", key, f"release={session}", value) is (before.session == session)
        if before.session == session:
            self.write(key, replace(before, value=value, session="", flags=0))

    @rule(key=KEYS)
    def acquire_for_nobody(self, key: str) -> None:
        assert self.consul.put(f"/v1/kv/{self.root}{key}?acquire=00000000-0000-4000-8000-000000000000", b"x").status == 500

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        found = {
            key: Held(base64.b64decode(entry["Value"] or ""), entry.get("Session", ""), entry["LockIndex"], entry["Flags"])
            for key, entry in self.entries().items()
        }
        assert found == self.keys


def test_keys_sessions_and_locks(consul: Consul) -> None:
    machine = type("Machine", (KeyMachine,), {"consul": consul})
    limits = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[*HealthCheck])
    run_state_machine_as_test(machine, settings=limits)


# Many at once


class Caller:
    """A connection that asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, consul: Consul) -> Caller:
        return cls(*await asyncio.open_connection("127.0.0.1", consul.port))

    async def ask(self, method: str, path: str, body: object = None) -> Response:
        data = b"" if body is None else json.dumps(body).encode()
        self._writer.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        return await read_response(self._reader, method)

    def close(self) -> None:
        self._writer.close()


WRITERS, WRITES, WATCHERS = 4, 30, 12


@pytest.mark.parametrize("seed", [1, 2])
def test_no_change_is_missed_while_many_write(consul: Consul, seed: int) -> None:
    """Every reader blocks without end: that all come to see the last of each writer's changes shows that no wake-up was lost."""
    dice = Random(seed)
    root = f"many{seed}"

    async def write(writer: int) -> None:
        caller = await Caller.of(consul)
        for number in range(1, WRITES + 1):
            if dice.random() < 0.5:
                await asyncio.sleep(0)
            body = {"Name": root, "ID": f"{root}-{writer}", "Port": 1000 + number}
            assert (await caller.ask("PUT", "/v1/agent/service/register", body)).status == 200
            assert (await caller.ask("PUT", f"/v1/kv/{root}/{writer}", number)).body == b"true"
        caller.close()

    async def watch(path: str, last: Any) -> None:
        caller, index = await Caller.of(consul), 0
        while True:
            answer = await caller.ask("GET", f"{path}index={index}&wait=10m")
            told = int(answer.get("x-consul-index") or 0)
            assert told > index, "a reader without time limit is told of nothing old"
            index = told
            if answer.status == 200 and last(json.loads(answer.body)):
                caller.close()
                return

    def ports(entries: list[dict[str, Any]]) -> bool:
        return [entry["Service"]["Port"] for entry in entries] == [1000 + WRITES] * WRITERS

    def values(entries: list[dict[str, Any]]) -> bool:
        return [json.loads(base64.b64decode(entry["Value"])) for entry in entries] == [WRITES] * WRITERS

    async def main() -> None:
        async with asyncio.timeout(240), asyncio.TaskGroup() as tasks:
            for number in range(WATCHERS):
                tasks.create_task(watch(f"/v1/health/service/{root}?near=n{number % 3}&", ports))
                tasks.create_task(watch(f"/v1/kv/{root}/?recurse&near=n{number % 3}&", values))
            for writer in range(WRITERS):
                tasks.create_task(write(writer))

    asyncio.run(main())
