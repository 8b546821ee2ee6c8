"""`/v1/kv`, `/v1/session` and `/v1/txn`: values, the locks on them, and several operations as one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tulle.model.service import Health
from tulle.registry import durations, rows, transitions
from tulle.registry.catalog import Kept
from tulle.registry.kv import LOCK_DELAY, LOCK_DELAY_LIMIT, TTL_LEAST, TTL_MOST, VALUE_LIMIT, Behavior, Entry, Session
from tulle.registry.locking import READING, Failed, KeyOp, Keys
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.body import BadBodyError, Body
from tulle.server.consul.place import Place
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

OPERATIONS = 128
"""Of one transaction."""
_RAW = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}


class KvApi:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="GET", path="/v1/kv/", handler=self.get),
            Route(method="PUT", path="/v1/kv/", handler=self.put),
            Route(method="DELETE", path="/v1/kv/", handler=self.delete),
            Route(method="PUT", path="/v1/txn", handler=self.transact),
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

        def index() -> int:
            seen = (("kv", key) for keys in (tables.keys_under(prefix), tables.dead_under(prefix)) for key in keys)
            return self._registry.waiting.index(seen)

        def look() -> Reply:
            keys = list(tables.keys_under(prefix))
            if not keys and (prefix or not ask.has("keys")):
                return Reply(status=404, body=b"")
            if ask.has("keys"):
                return Reply(value=_cut(keys, prefix, ask.get("separator") or ask.get("seperator")))
            return Reply(value=[shown(tables.kv[key]) for key in keys])

        return Found(topics=(("kv*", prefix),), look=look, index=index)

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

    # === transactions

    async def transact(self, ask: Ask) -> Reply:
        ops = _operations(ask.document())
        results: list[tuple[KeyOp, Kept[Entry]]] = []
        errors: list[dict[str, Any]] = []

        def decide(tables: Tables) -> Sequence[Write]:
            keys = Keys(tables, self._registry.delayed)
            results.clear()
            errors.clear()
            for number, op in enumerate(ops):
                try:
                    results.extend((op, kept) for kept in keys.do(op))
                except Failed as failed:
                    errors.append({"OpIndex": number, "What": str(failed)})
                except Refused as refused:
                    errors.append({"OpIndex": number, "What": refused.message})
            return [] if errors else keys.writes()

        await self._registry.change(decide)
        if errors:
            return Reply(status=409, value={"Results": None, "Errors": errors})
        headers = {"x-consul-lastcontact": "0", "x-consul-knownleader": "true"} if all(op.verb in READING for op in ops) else {}
        return Reply(value={"Results": [{"KV": self._result(op, kept)} for op, kept in results], "Errors": None}, headers=headers)

    def _result(self, op: KeyOp, kept: Kept[Entry]) -> dict[str, Any]:
        now = self._registry.tables.kv.get(kept.value.key)
        if op.verb.startswith("get"):
            return shown(kept)
        return {**shown(now if now and now.value == kept.value else kept), "Value": None}


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


def _operations(document: object) -> list[KeyOp]:
    """Raises Refused."""
    if not isinstance(document, list):
        raise BadBodyError("the body must be a list of operations")
    if len(document) > OPERATIONS:
        raise Refused(413, f"Transaction contains too many operations ({len(document)} > {OPERATIONS})")
    return [_operation(Body(item, "operation")) for item in document]


def _operation(body: Body) -> KeyOp:
    given = body.part("KV")
    if given is None:
        raise Refused(400, "a transaction can hold operations on KV only")
    value = given.text("Value")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadBodyError("Value is not base64") from None
    if len(data) > VALUE_LIMIT:
        raise Refused(413, f"Value for key {given.text('Key')[:64]!r} is too large ({len(data)} > {VALUE_LIMIT} bytes)")
    most = (1 << 64) - 1
    flags, index = given.number("Flags", most=most), given.number("Index", most=most)
    if flags < 0 or index < 0:
        raise BadBodyError("Flags and Index must not be negative")
    verb, key = given.text("Verb"), given.text("Key")
    if not key and not verb.endswith("-tree"):
        raise Refused(400, "Missing key name")
    return KeyOp(verb=verb, key=key, value=data, flags=flags, index=index, session=given.text("Session"))


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
        guards.append(("check", rows.key_of(check.value), b"", check.modified))
    return [*([] if any(_of_run(tables, session, name) for name in session.checks) else guards), *transitions.put(session, None)]


def _of_run(tables: Tables, session: Session, check: str) -> bool:
    """A check of a `tulle run` workload has no row of its own."""
    service = tables.services.get((session.node, tables.checks[session.node, check].value.service_id))
    return bool(service and service.value.of_run)


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
