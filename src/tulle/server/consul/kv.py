"""`/v1/kv` and `/v1/session`: values, and the locks on them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tulle.model.service import Health
from tulle.registry import durations, rows, transitions
from tulle.registry.catalog import Kept
from tulle.registry.kv import LOCK_DELAY, LOCK_DELAY_LIMIT, TTL_LEAST, TTL_MOST, VALUE_LIMIT, Behavior, Entry, Session
from tulle.registry.locking import Failed, KeyOp, Keys
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import ALL_KEYS, Tables
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.body import Body
from tulle.server.consul.place import Place
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

REMEMBERED = 1024
"""So many prefixes have their index at hand."""
_RAW = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}


class KvApi:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._indices: dict[str, tuple[tuple[int, int], int]] = {}

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="GET", path="/v1/kv/", handler=self.get),
            Route(method="PUT", path="/v1/kv/", handler=self.put),
            Route(method="DELETE", path="/v1/kv/", handler=self.delete),
        ]

    # === reading

    def get(self, ask: Ask) -> Found:
        if ask.has("keys") or ask.has("recurse"):
            return self._tree(ask)
        if not ask.rest:
            raise Refused(400, "Missing key name")

        def look() -> Reply:
            kept = self._registry.tables.kv.get(ask.rest)
            if kept is None:
                return Reply(status=404, body=b"")
            if ask.has("raw"):
                return Reply(body=kept.value.value, media="text/plain; charset=utf-8", headers=_RAW)
            return Reply(value=[shown(kept)])

        return Found(topics=(("kv", ask.rest),), look=look)

    def _tree(self, ask: Ask) -> Found:
        tables, prefix = self._registry.tables, ask.rest

        def look() -> Reply:
            keys = list(tables.keys_under(prefix))
            if not keys and (prefix or not ask.has("keys")):
                return Reply(status=404, body=b"")
            if ask.has("keys"):
                return Reply(value=_cut(keys, prefix, ask.get("separator") or ask.get("seperator")))
            return Reply(value=[shown(tables.kv[key]) for key in keys])

        return Found(topics=(("kv*", prefix),), look=look, index=lambda: self._index_under(prefix))

    def _index_under(self, prefix: str) -> int:
        """The latest change of any key under a prefix, also of those that are gone; looked for once, until any key at all changes."""
        tables, waiting = self._registry.tables, self._registry.waiting
        now = (waiting.index((ALL_KEYS,)), waiting.floor)
        known = self._indices.get(prefix)
        if known is None or known[0] != now:
            seen = (("kv", key) for keys in (tables.keys_under(prefix), tables.dead_under(prefix)) for key in keys)
            if len(self._indices) >= REMEMBERED:
                self._indices.clear()
            known = self._indices[prefix] = (now, waiting.index(seen))
        return known[1]

    # === writing

    async def put(self, ask: Ask) -> Reply:
        if not ask.rest:
            raise Refused(400, "Missing key name")
        if len(ask.body) > VALUE_LIMIT:
            raise Refused(413, f"Request body({len(ask.body)} bytes) too large, max size: {VALUE_LIMIT} bytes. See the limits of KV.")
        given = [name for name in ("cas", "acquire", "release") if ask.has(name)]
        if len(given) > 1:
            raise Refused(400, f"Conflicting flags: {'=&'.join(given)}=")
        verb = {"cas": "cas", "acquire": "lock", "release": "unlock"}[given[0]] if given else "set"
        op = KeyOp(
            verb=verb,
            key=ask.rest,
            value=ask.body,
            flags=ask.number("flags") or 0,
            index=ask.number("cas") or 0,
            session=ask.get("acquire") or ask.get("release"),
        )
        return Reply(value=await self._alone(op))

    async def delete(self, ask: Ask) -> Reply:
        if ask.has("recurse"):
            if ask.has("cas"):
                raise Refused(400, "Conflicting flags: recurse=&cas=")
            return Reply(value=await self._alone(KeyOp(verb="delete-tree", key=ask.rest)))
        if not ask.rest:
            raise Refused(400, "Missing key name")
        verb = "delete-cas" if ask.has("cas") else "delete"
        return Reply(value=await self._alone(KeyOp(verb=verb, key=ask.rest, index=ask.number("cas") or 0)))

    async def _alone(self, op: KeyOp) -> bool:
        done = True

        def decide(tables: Tables) -> Sequence[Write]:
            nonlocal done
            keys = Keys(tables, self._registry.delayed)
            try:
                keys.do(op)
                done = True
            except Failed:
                done = False
            return keys.writes() if done else []

        await self._registry.change(decide)
        return done


def shown(kept: Kept[Entry]) -> dict[str, Any]:
    e = kept.value
    return {
        "LockIndex": e.lock_index,
        "Key": e.key,
        "Flags": e.flags,
        "Value": base64.b64encode(e.value).decode() if e.value else None,
        **({"Session": e.session} if e.session else {}),
        "CreateIndex": kept.created,
        "ModifyIndex": kept.modified,
    }


def _cut(keys: list[str], prefix: str, separator: str) -> list[str]:
    """Keys up to the first separator after the prefix, each once."""
    if not separator:
        return keys
    found = {}
    for key in keys:
        at = key.find(separator, len(prefix))
        found[key if at < 0 else key[: at + len(separator)]] = True
    return list(found)


class SessionApi:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._place = place

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="PUT", path="/v1/session/create", handler=self.create),
            Route(method="PUT", path="/v1/session/destroy/", handler=self.destroy),
            Route(method="PUT", path="/v1/session/renew/", handler=self.renew),
            Route(method="GET", path="/v1/session/info/", handler=self.info),
            Route(method="GET", path="/v1/session/node/", handler=self.of_node),
            Route(method="GET", path="/v1/session/list", handler=self.list),
        ]

    async def create(self, ask: Ask) -> Reply:
        body = ask.json() if ask.body.strip() else Body({})
        if body.text("Datacenter") not in ("", self._place.datacenter):
            raise Refused(500, "No path to datacenter")
        identifier = str(UUID(int=self._registry.dice.getrandbits(128), version=4))
        session = _session(body, identifier, self._registry.node.name)
        await self._registry.change(lambda tables: _entering(tables, session))
        self._registry.started(identifier, session.ttl)
        return Reply(value={"ID": identifier})

    async def destroy(self, ask: Ask) -> Reply:
        await self._registry.end_session(_identifier(ask))
        return TRUE_REPLY

    def renew(self, ask: Ask) -> Reply:
        identifier = _identifier(ask)
        kept = self._registry.tables.sessions.get(identifier)
        if kept is None:
            raise Refused(404, f"Session id '{identifier}' not found")
        self._registry.started(identifier, kept.value.ttl)
        return Reply(value=[session_shape(kept)])

    def info(self, ask: Ask) -> Found:
        identifier = _identifier(ask)

        def look() -> Reply:
            kept = self._registry.tables.sessions.get(identifier)
            return Reply(value=[session_shape(kept)] if kept else [])

        return Found(topics=(("session", identifier),), look=look)

    def of_node(self, ask: Ask) -> Found:
        if not ask.rest:
            raise Refused(400, "Missing node name")
        return Found(topics=(("sessions", ask.rest),), look=lambda: self._all(ask.rest))

    def list(self, _: Ask) -> Found:
        return Found(topics=(("sessions",),), look=lambda: self._all(""))

    def _all(self, node: str) -> Reply:
        sessions = self._registry.tables.sessions
        return Reply(value=[session_shape(sessions[i]) for i in sorted(sessions) if node in ("", sessions[i].value.node)])


def _identifier(ask: Ask) -> str:
    if not ask.rest:
        raise Refused(400, "Missing session")
    return ask.rest


def _entering(tables: Tables, session: Session) -> Sequence[Write]:
    node = tables.nodes.get(session.node)
    if node is None:
        raise Refused(500, "Missing node registration")
    guards: list[Write] = []
    for name in session.checks:
        check = tables.checks.get((session.node, name))
        if check is None:
            raise Refused(500, f"Missing check '{name}' registration")
        if check.value.status is Health.CRITICAL:
            raise Refused(500, f"Check '{name}' is in critical state")
        if not check.value.of_run:  # which has no row of its own
            guards.append(("check", rows.key_of(check.value), b"", check.modified))
    return [*guards, *transitions.put(session, None)]


def _session(body: Body, identifier: str, node: str) -> Session:
    """Raises Refused."""
    ttl = body.seconds("TTL")
    if ttl and not TTL_LEAST <= ttl <= TTL_MOST:
        raise Refused(400, f"Invalid Session TTL '{durations.show(ttl)}', must be between [10s=24h0m0s]")
    given = body.text("Behavior") or "release"
    if given not in ("release", "delete"):
        raise Refused(400, f"Invalid Behavior setting '{given[:32]}'")
    services = body.given.get("servicechecks")
    named = (
        tuple(Body(item, "ServiceChecks").text("ID") for item in services)
        if isinstance(services, list) and all(isinstance(item, dict) for item in services)
        else body.texts("ServiceChecks")
    )
    checks = body.texts("NodeChecks", "Checks") if body.has("NodeChecks") or body.has("Checks") else ("serfHealth",)
    return Session(
        id=identifier,
        node=body.text("Node") or node,
        name=body.text("Name"),
        node_checks=checks,
        service_checks=named,
        lock_delay=_lock_delay(body),
        behavior=Behavior(given),
        ttl=ttl,
    )


def _lock_delay(body: Body) -> float:
    """Small numbers are seconds, others nanoseconds. Raises Refused."""
    if not body.has("LockDelay"):
        return LOCK_DELAY
    given = body.given["lockdelay"]
    small = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < 1000
    seconds = float(given) if small else body.seconds("LockDelay")
    if seconds < 0:
        raise Refused(400, "Invalid LockDelay")
    return min(seconds, LOCK_DELAY_LIMIT)


def session_shape(kept: Kept[Session]) -> dict[str, Any]:
    s = kept.value
    return {
        "ID": s.id,
        "Name": s.name,
        "Node": s.node,
        "LockDelay": round(s.lock_delay * 1e9),
        "Behavior": s.behavior.value,
        "TTL": durations.show(s.ttl) if s.ttl else "",
        "NodeChecks": [*s.node_checks],
        "ServiceChecks": [{"ID": name, "Namespace": ""} for name in s.service_checks],
        "CreateIndex": kept.created,
        "ModifyIndex": kept.modified,
    }
