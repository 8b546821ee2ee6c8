"""What each request needs before it is even looked at: the one table, in the words of Consul's documentation of its endpoints.

Answers that are lists are not refused but shortened: see `visible`. What is not in either table, everybody may ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tulle.registry.acl.authority import Authority
from tulle.registry.acl.rules import Access
from tulle.registry.tables import Tables
from tulle.server.consul.body import Body
from tulle.server.consul.wire import Ask

READ, WRITE = Access.READ, Access.WRITE


@dataclass(frozen=True, slots=True)
class Need:
    kind: str
    name: str = ""
    access: Access = WRITE
    under: bool = False
    """For everything whose name begins so."""

    def check(self, authority: Authority) -> None:
        """Raises Refused(403)."""
        if self.under and not authority.allows_under(self.kind, self.name, self.access):
            raise authority.refusal(self.kind, self.name, self.access)
        if not self.under:
            authority.require(self.kind, self.name, self.access)


Needs = Callable[[Ask, Tables], Iterable[Need]]
"""Raises Refused for a body that cannot be read."""


def _always(kind: str, access: Access) -> Needs:
    return lambda _, __: (Need(kind, "", access),)


def _named(kind: str, access: Access) -> Needs:
    """By what follows in the path."""
    return lambda ask, _: (Need(kind, ask.rest, access),)


def _of_agent(access: Access) -> Needs:
    return lambda _, tables: (Need("agent", tables.local, access),)


# === the agent


def _on_service(tables: Tables, node: str, identifier: str, access: Access = WRITE) -> Iterable[Need]:
    """Nothing for an instance that is not there: the answer says so."""
    kept = tables.services.get((node, identifier))
    return (Need("service", kept.value.name, access),) if kept else ()


def _register_service(ask: Ask, tables: Tables) -> Iterable[Need]:
    body = ask.json()
    name = body.text("Name", "Service")
    yield Need("service", name)
    yield from _on_service(tables, tables.local, body.text("ID") or name)
    yield from _on_checks(tables, tables.local, _checks_in(body))
    connect = body.part("Connect")
    if connect and (sidecar := connect.part("SidecarService")):
        yield Need("service", sidecar.text("Name") or f"{name}-sidecar-proxy")


def _local_service(access: Access) -> Needs:
    return lambda ask, tables: _on_service(tables, tables.local, ask.rest, access)


def _register_check(ask: Ask, tables: Tables) -> Iterable[Need]:
    body = ask.json()
    service = body.text("ServiceID")
    yield from _on_service(tables, tables.local, service) if service else (Need("node", tables.local),)
    yield from _on_checks(tables, tables.local, [body])


def _local_check(ask: Ask, tables: Tables) -> Iterable[Need]:
    return _on_check(tables, tables.local, ask.rest)


def _on_checks(tables: Tables, node: str, given: Iterable[Body]) -> Iterable[Need]:
    """Nobody puts a check in place of one that belongs to somebody else."""
    for check in given:
        yield from _on_check(tables, node, check.text("CheckID", "ID") or check.text("Name"))


def _on_check(tables: Tables, node: str, identifier: str) -> Iterable[Need]:
    """Nothing for a check that is not there."""
    kept = tables.checks.get((node, identifier))
    if kept is None:
        return ()
    return (Need("service", kept.value.service_name),) if kept.value.service_id else (Need("node", node),)


def _checks_in(body: Body) -> list[Body]:
    return [*([one] if (one := body.part("Check")) else []), *body.parts("Checks")]


# === the catalog


def _register(ask: Ask, tables: Tables) -> Iterable[Need]:
    body = ask.json()
    return entering_needs(body, tables)


def entering_needs(body: Body, tables: Tables) -> Iterable[Need]:
    node, service = body.text("Node"), body.part("Service")
    checks = _checks_in(body)
    if not body.flag("SkipNodeUpdate") or any(not check.text("ServiceID") for check in checks):
        yield Need("node", node)
    if service:
        name = service.text("Service", "Name")
        yield Need("service", name)
        yield from _on_service(tables, node, service.text("ID") or name)
    for check in checks:
        yield from _on_service(tables, node, check.text("ServiceID"))
    yield from _on_checks(tables, node, checks)


def _deregister(ask: Ask, tables: Tables) -> Iterable[Need]:
    body = ask.json()
    node, service, check = body.text("Node"), body.text("ServiceID"), body.text("CheckID")
    kept = tables.checks.get((node, check)) if check and not service else None
    if service:
        return _on_service(tables, node, service)
    if kept and kept.value.service_id:
        return _on_service(tables, node, kept.value.service_id)
    return (Need("node", node),)


# === values, sessions, queries


def _read_key(ask: Ask, _: Tables) -> Iterable[Need]:
    return () if ask.has("recurse") or ask.has("keys") else (Need("key", ask.rest, READ),)


def _delete_key(ask: Ask, _: Tables) -> Iterable[Need]:
    return (Need("key", ask.rest, WRITE, under=ask.has("recurse")),)


def _create_session(ask: Ask, tables: Tables) -> Iterable[Need]:
    body = ask.json() if ask.body.strip() else Body({})
    return (Need("session", body.text("Node") or tables.local),)


def _known_session(ask: Ask, tables: Tables) -> Iterable[Need]:
    kept = tables.sessions.get(ask.rest)
    return (Need("session", kept.value.node),) if kept else ()


def _create_query(ask: Ask, tables: Tables) -> Iterable[Need]:
    name = ask.json().text("Name")
    yield from _known_query(ask, tables)
    if name:
        yield Need("query", name)


def _known_query(ask: Ask, tables: Tables) -> Iterable[Need]:
    kept = tables.queries.get(ask.rest)
    return (Need("query", kept.value["Name"]),) if kept and kept.value["Name"] else ()


def _read_query(ask: Ask, tables: Tables) -> Iterable[Need]:
    """Whoever may see a service may ask for it by a query's name."""
    return (Need(need.kind, need.name, READ) for need in _known_query(ask, tables))


# === transactions


def _transact(ask: Ask, tables: Tables) -> Iterable[Need]:
    document = ask.document()
    for item in document if isinstance(document, list) else ():
        operation = Body(item, "operation")
        for name, needs in _OPERATIONS.items():
            if part := operation.part(name):
                yield from needs(part, tables)


def _kv_operation(part: Body, _: Tables) -> Iterable[Need]:
    verb, key = part.text("Verb"), part.text("Key")
    reading = verb.startswith(("get", "check"))
    yield Need("key", key, READ if reading else WRITE, under=verb in ("delete-tree", "get-tree"))


def _node_operation(part: Body, _: Tables) -> Iterable[Need]:
    access = READ if part.text("Verb") == "get" else WRITE
    yield Need("node", (part.part("Node") or Body({})).text("Node"), access)


def _service_operation(part: Body, tables: Tables) -> Iterable[Need]:
    access = READ if part.text("Verb") == "get" else WRITE
    service = part.part("Service") or Body({})
    if name := service.text("Service", "Name"):
        yield Need("service", name, access)
    yield from _on_service(tables, part.text("Node"), service.text("ID") or name, access)


def _check_operation(part: Body, tables: Tables) -> Iterable[Need]:
    access = READ if part.text("Verb") == "get" else WRITE
    check = part.part("Check") or Body({})
    if service := check.text("ServiceID"):
        yield from _on_service(tables, check.text("Node"), service, access)
    else:
        yield Need("node", check.text("Node"), access)
    if access is WRITE:
        yield from _on_checks(tables, check.text("Node"), [check])


_OPERATIONS: Mapping[str, Callable[[Body, Tables], Iterable[Need]]] = {
    "KV": _kv_operation,
    "Node": _node_operation,
    "Service": _service_operation,
    "Check": _check_operation,
}


def _update_coordinate(ask: Ask, _: Tables) -> Iterable[Need]:
    return (Need("node", ask.json().text("Node")),)


# === entries, intentions, certificates


def _kind_need(kind: str, name: str, access: Access) -> Iterable[Need]:
    if kind == "service-intentions":
        return (Need("intention", name, access),)
    if kind == "proxy-defaults":
        return (Need("mesh", "", access),) if access is WRITE else ()
    return (Need("service", name, access),)


def _put_entry(ask: Ask, _: Tables) -> Iterable[Need]:
    body = ask.json()
    return _kind_need(body.text("Kind"), body.text("Name"), WRITE)


def _entry(access: Access) -> Needs:
    """A whole kind is shortened, not refused."""

    def needs(ask: Ask, _: Tables) -> Iterable[Need]:
        kind, _slash, name = ask.rest.partition("/")
        return _kind_need(kind, name, access) if name else ()

    return needs


def _intention(access: Access) -> Needs:
    return lambda ask, _: (Need("intention", ask.get("destination"), access),)


def _create_intention(ask: Ask, _: Tables) -> Iterable[Need]:
    return (Need("intention", ask.json().text("DestinationName")),)


def _any_intention(access: Access) -> Needs:
    """By id, whatever it is for."""
    return lambda _, __: (Need("intention", "", access, under=True),)


def _authorize(ask: Ask, _: Tables) -> Iterable[Need]:
    return (Need("service", ask.json().text("Target")),)


_AGENT: Mapping[tuple[str, str], Needs] = {
    ("GET", "self"): _of_agent(READ),
    ("GET", "version"): _of_agent(READ),
    ("GET", "metrics"): _of_agent(READ),
    ("GET", "monitor"): _of_agent(READ),
    ("GET", "host"): _always("operator", READ),
    ("PUT", "reload"): _of_agent(WRITE),
    ("PUT", "join/"): _of_agent(WRITE),
    ("PUT", "leave"): _of_agent(WRITE),
    ("PUT", "force-leave/"): _always("operator", WRITE),
    ("PUT", "token/"): _of_agent(WRITE),
    ("PUT", "maintenance"): lambda _, tables: (Need("node", tables.local),),
    ("GET", "service/"): _local_service(READ),
    ("GET", "health/service/name/"): _named("service", READ),
    ("GET", "health/service/id/"): _local_service(READ),
    ("PUT", "service/register"): _register_service,
    ("PUT", "service/deregister/"): _local_service(WRITE),
    ("PUT", "service/maintenance/"): _local_service(WRITE),
    ("PUT", "check/register"): _register_check,
    **{("PUT", f"check/{verb}/"): _local_check for verb in ("deregister", "pass", "warn", "fail", "update")},
}
_OTHERS: Mapping[tuple[str, str], Needs] = {
    ("PUT", "catalog/register"): _register,
    ("PUT", "catalog/deregister"): _deregister,
    ("PUT", "coordinate/update"): _update_coordinate,
    ("GET", "kv/"): _read_key,
    ("PUT", "kv/"): _named("key", WRITE),
    ("DELETE", "kv/"): _delete_key,
    ("PUT", "txn"): _transact,
    ("PUT", "session/create"): _create_session,
    ("PUT", "session/destroy/"): _known_session,
    ("PUT", "session/renew/"): _known_session,
    ("PUT", "event/fire/"): _named("event", WRITE),
    ("POST", "query"): _create_query,
    ("PUT", "query/"): _create_query,
    ("DELETE", "query/"): _known_query,
    ("GET", "query/"): _read_query,
    ("GET", "operator/raft/configuration"): _always("operator", READ),
    ("PUT", "config"): _put_entry,
    ("GET", "config/"): _entry(READ),
    ("DELETE", "config/"): _entry(WRITE),
    ("GET", "connect/intentions/exact"): _intention(READ),
    ("PUT", "connect/intentions/exact"): _intention(WRITE),
    ("DELETE", "connect/intentions/exact"): _intention(WRITE),
    ("GET", "connect/intentions/check"): _intention(READ),
    ("POST", "connect/intentions"): _create_intention,
    ("GET", "connect/intentions/"): _any_intention(READ),
    ("PUT", "connect/intentions/"): _any_intention(WRITE),
    ("DELETE", "connect/intentions/"): _any_intention(WRITE),
    ("GET", "connect/ca/configuration"): _always("operator", READ),
    ("PUT", "connect/ca/configuration"): _always("operator", WRITE),
    ("GET", "agent/connect/ca/leaf/"): _named("service", WRITE),
    ("POST", "agent/connect/authorize"): _authorize,
    ("GET", "discovery-chain/"): _named("service", READ),
    ("POST", "discovery-chain/"): _named("service", READ),
    ("GET", "acl/token/self"): lambda _, __: (),
}
_ACL = {"GET": READ, "PUT": WRITE, "DELETE": WRITE}
NEEDS: dict[tuple[str, str], Needs] = {
    **{(method, f"/v1/agent/{path}"): needs for (method, path), needs in _AGENT.items()},
    **{(method, f"/v1/{path}"): needs for (method, path), needs in _OTHERS.items()},
}
"""By method and the part of the path that chooses the handler."""


def admit(method: str, path: str, ask: Ask, tables: Tables) -> None:
    """Raises Refused(403) for what the one who asks may not do."""
    method = "GET" if method == "HEAD" else method
    needs = NEEDS.get((method, path))
    if needs is not None:
        for need in needs(ask, tables):
            need.check(ask.authority)
    elif path.startswith("/v1/acl/") and path != "/v1/acl/bootstrap":
        ask.authority.require("acl", "", _ACL.get(method, WRITE))
