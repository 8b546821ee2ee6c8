"""`/v1/catalog`, `/v1/health` and `/v1/status`: what there is, and how it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from tulle.model.service import Health
from tulle.registry import transitions
from tulle.registry.catalog import Check, Kept, Node, Service
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.transitions import Entering, Refused
from tulle.registry.waiting import Topic
from tulle.server.consul import entering, shapes
from tulle.server.consul.app import Handler, Route
from tulle.server.consul.body import Body
from tulle.server.consul.filters import AGENT_SERVICE, ENTRY, HEALTH_CHECK, NODE, SERVICE_NODE, test_of
from tulle.server.consul.place import Place
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

Instances = Callable[[], Iterable[Kept[Service]]]


class CatalogApi:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._place = place

    def routes(self) -> Sequence[Route]:
        get: dict[str, Handler] = {
            "catalog/datacenters": self.datacenters,
            "catalog/nodes": self.nodes,
            "catalog/services": self.services,
            "catalog/service/": self.service,
            "catalog/connect/": self.connect,
            "catalog/node/": self.node,
            "catalog/node-services/": self.node_services,
            "health/service/": self.health_service,
            "health/connect/": self.health_connect,
            "health/ingress/": self.health_ingress,
            "health/node/": self.health_node,
            "health/checks/": self.health_checks,
            "health/state/": self.health_state,
            "status/leader": self.leader,
            "status/peers": self.peers,
        }
        put: dict[str, Handler] = {"catalog/register": self.register, "catalog/deregister": self.deregister}
        return [
            *(Route(method="GET", path=f"/v1/{path}", handler=handler) for path, handler in get.items()),
            *(Route(method="PUT", path=f"/v1/{path}", handler=handler) for path, handler in put.items()),
        ]

    @property
    def _tables(self) -> Tables:
        return self._registry.tables

    # === writing

    async def register(self, ask: Ask) -> Reply:
        body = ask.json()
        self._check_datacenter(body)
        name, address = body.text("Node"), body.text("Address")
        skip = body.flag("SkipNodeUpdate")
        if not name or (not address and not skip):
            raise Refused(500, "Must provide node and address")
        if skip and name not in self._tables.nodes and not address:
            raise Refused(500, f"failed inserting service: node {name!r} is not there, and SkipNodeUpdate is set")
        node = Node(
            name=name,
            id=body.text("ID"),
            address=address,
            tagged_addresses=body.words("TaggedAddresses"),
            meta=entering.meta(body, "NodeMeta"),
        )
        given = body.part("Service")
        service = entering.service(given, name) if given else None
        one = body.part("Check")
        items = [*([one] if one else []), *body.parts("Checks")]
        checks = tuple(external_check(item, name, service) for item in items)
        here = Entering(node=node, keep_node=skip, service=service, checks=checks)
        await self._registry.change(lambda tables: transitions.enter(tables, _with_own_id(tables, here)))
        return TRUE_REPLY

    async def deregister(self, ask: Ask) -> Reply:
        body = ask.json()
        self._check_datacenter(body)
        name, service_id, check_id = body.text("Node"), body.text("ServiceID"), body.text("CheckID")
        if not name:
            raise Refused(500, "Must provide node")
        if service_id:
            await self._registry.change(lambda tables: transitions.leave_service(tables, (name, service_id)))
        elif check_id:
            await self._registry.change(lambda tables: _leave_check(tables, name, check_id))
        elif name == self._registry.node.name:
            raise Refused(400, f"{name!r} is the node of this very agent: it leaves the catalog when the agent ends")
        else:
            await self._registry.change(lambda tables: transitions.leave_node(tables, name))
        return TRUE_REPLY

    def _check_datacenter(self, body: Body) -> None:
        self._place.wan.require_own(body.text("Datacenter"))

    # === the catalog

    def datacenters(self, _: Ask) -> Reply:
        return Reply(value=[self._place.datacenter, *sorted(self._place.wan.places)])

    def nodes(self, ask: Ask) -> Found:
        passes = test_of(ask, NODE, 500)

        def look() -> Reply:
            kept = (self._tables.nodes[name] for name in sorted(self._tables.nodes))
            shown = (shapes.node(node, self._place.datacenter) for node in kept if _has_meta(ask, node))
            return Reply(value=[shape for shape in shown if passes(shape)])

        return Found(topics=(("nodes",),), look=look)

    def services(self, ask: Ask) -> Found:
        passes = test_of(ask, SERVICE_NODE, 500)
        flat = ask.has("filter")

        def look() -> Reply:
            found: dict[str, set[str]] = {}
            for kept in self._tables.services.values():
                node = self._tables.nodes.get(kept.value.node)
                if _has_meta(ask, node) and (not flat or passes(shapes.service_node(kept, node, self._place.datacenter))):
                    found.setdefault(kept.value.name, set()).update(kept.value.tags)
            return Reply(value={name: sorted(found[name]) for name in sorted(found)})

        return Found(topics=(("services",), ("nodes",)) if ask.has("node-meta") else (("services",),), look=look)

    def service(self, ask: Ask) -> Found:
        if not ask.rest:
            raise Refused(400, "Missing service name")
        return self._instances(ask, lambda: self._tables.instances_of(ask.rest), _service_topics(ask))

    def connect(self, ask: Ask) -> Found:
        """The proxies in front of a service."""
        return self._instances(ask, lambda: self._proxies(ask.rest), (("services",), ("nodes",)))

    def _instances(self, ask: Ask, instances: Instances, topics: tuple[Topic, ...]) -> Found:
        passes = test_of(ask, SERVICE_NODE, 500)

        def look() -> Reply:
            shown = (self._service_node(kept) for kept in instances() if self._is_asked_for(ask, kept))
            return Reply(value=[shape for shape in shown if passes(shape)])

        return Found(topics=topics, look=look)

    def _service_node(self, kept: Kept[Service]) -> dict[str, Any]:
        return shapes.service_node(kept, self._tables.nodes.get(kept.value.node), self._place.datacenter)

    def _is_asked_for(self, ask: Ask, kept: Kept[Service]) -> bool:
        tags = {tag.lower() for tag in kept.value.tags}
        return all(tag.lower() in tags for tag in ask.all("tag")) and _has_meta(ask, self._tables.nodes.get(kept.value.node))

    def _proxies(self, name: str) -> Iterable[Kept[Service]]:
        """Instances that take calls for a service with the identity of the mesh."""
        for key in sorted(self._tables.services):
            kept = self._tables.services[key]
            ahead = kept.value.kind == "connect-proxy" and f'"DestinationServiceName":"{name}"' in kept.value.proxy
            native = kept.value.name == name and '"Native":true' in kept.value.connect
            if ahead or native:
                yield kept

    def node(self, ask: Ask) -> Found:
        return self._on_node(ask, lambda services: {s["ID"]: s for s in services})

    def node_services(self, ask: Ask) -> Found:
        return self._on_node(ask, list)

    def _on_node(self, ask: Ask, arranged: Callable[[list[dict[str, Any]]], object]) -> Found:
        if not ask.rest:
            raise Refused(400, "Missing node name")
        passes = test_of(ask, AGENT_SERVICE, 500)

        def look() -> Reply:
            kept = self._tables.nodes.get(ask.rest)
            if kept is None:
                return Reply(value=None)
            shown = (shapes.node_service(service) for service in self._tables.services_on(ask.rest))
            services = arranged([shape for shape in shown if passes(shape)])
            return Reply(value={"Node": shapes.node(kept, self._place.datacenter), "Services": services})

        return Found(topics=(("node", ask.rest),), look=look)

    # === health

    def health_service(self, ask: Ask) -> Found:
        if not ask.rest:
            raise Refused(400, "Missing service name")
        return self._health(ask, lambda: self._tables.instances_of(ask.rest), _service_topics(ask))

    def health_connect(self, ask: Ask) -> Found:
        return self._health(ask, lambda: self._proxies(ask.rest), (("services",), ("nodes",), ("checks",)))

    def health_ingress(self, ask: Ask) -> Found:
        """No gateway of Consul's own kind is there."""
        return self._health(ask, lambda: (), (("services",),))

    def _health(self, ask: Ask, instances: Instances, topics: tuple[Topic, ...]) -> Found:
        passes = test_of(ask, ENTRY)
        passing = ask.flag("passing")

        def look() -> Reply:
            asked = (kept for kept in instances() if self._is_asked_for(ask, kept) and (not passing or self._is_passing(kept)))
            shown = (shapes.entry(kept, self._tables, self._place.datacenter) for kept in asked)
            return Reply(value=[shape for shape in shown if passes(shape)])

        return Found(topics=topics, look=look)

    def _is_passing(self, kept: Kept[Service]) -> bool:
        return all(check.value.status is Health.PASSING for check in self._tables.health_checks(kept.value.key))

    def health_node(self, ask: Ask) -> Found:
        if not ask.rest:
            raise Refused(400, "Missing node name")

        def checks() -> Iterable[Kept[Check]]:
            return (self._tables.checks[ask.rest, i] for i in sorted(self._tables.checks_of_node.get(ask.rest, ())))

        return self._checks(ask, checks, (("node", ask.rest),))

    def health_checks(self, ask: Ask) -> Found:
        if not ask.rest:
            raise Refused(400, "Missing service name")

        def checks() -> Iterable[Kept[Check]]:
            return (c for kept in self._tables.instances_of(ask.rest) for c in self._tables.checks_of(kept.value.key))

        return self._checks(ask, checks, _service_topics(ask))

    def health_state(self, ask: Ask) -> Found:
        if ask.rest not in ("any", "passing", "warning", "critical"):
            raise Refused(400, "Missing check state" if not ask.rest else f"Invalid check state: {ask.rest[:64]!r}")

        def checks() -> Iterable[Kept[Check]]:
            kept = (self._tables.checks[key] for key in sorted(self._tables.checks))
            return (check for check in kept if ask.rest in ("any", check.value.status.value))

        return self._checks(ask, checks, (("checks",), ("nodes",)) if ask.has("node-meta") else (("checks",),))

    def _checks(self, ask: Ask, checks: Callable[[], Iterable[Kept[Check]]], topics: tuple[Topic, ...]) -> Found:
        passes = test_of(ask, HEALTH_CHECK)

        def look() -> Reply:
            found = (check for check in checks() if _has_meta(ask, self._tables.nodes.get(check.value.node)))
            shown = (shapes.check(check) for check in found)
            return Reply(value=[shape for shape in shown if passes(shape)])

        return Found(topics=topics, look=look)

    # === status

    def leader(self, _: Ask) -> Reply:
        return Reply(value=self._place.leader)

    def peers(self, _: Ask) -> Reply:
        return Reply(value=[self._place.leader])


def _service_topics(ask: Ask) -> tuple[Topic, ...]:
    return (("service", ask.rest.lower()),)


def _has_meta(ask: Ask, node: Kept[Node] | None) -> bool:
    """Whether a node has all metadata that is asked for."""
    for pair in ask.all("node-meta"):
        key, _, value = pair.partition(":")
        if node is None or node.value.meta.get(key) != value:
            return False
    return True


def _with_own_id(tables: Tables, here: Entering) -> Entering:
    """A node that is there keeps its UUID when the request names none."""
    known = tables.nodes.get(here.node.name)
    return replace(here, node=replace(here.node, id=known.value.id)) if known and not here.node.id else here


def _leave_check(tables: Tables, node: str, identifier: str) -> list[Write]:
    kept = tables.checks.get((node, identifier))
    return transitions.leave_check(tables, kept.value) if kept else []


def external_check(body: Body, node: str, service: Service | None) -> Check:
    """A check that somebody else runs: this agent only keeps what it is told."""
    identifier, name = body.text("CheckID"), body.text("Name")
    if not identifier and not name:
        raise Refused(500, "failed inserting check: Must provide CheckID or Name")
    if body.text("Node") not in ("", node):
        raise Refused(500, f"check's node {body.text('Node')!r} does not match {node!r}")
    service_id = body.text("ServiceID") or (service.id if service and not body.has("ServiceID") and body.text("ServiceName") else "")
    return Check(
        node=node,
        id=identifier or name,
        name=name,
        status=entering.status(body.text("Status"), Health.CRITICAL),
        notes=body.text("Notes"),
        output=body.text("Output"),
        service_id=service_id,
        service_name=body.text("ServiceName"),
        type=body.text("Type"),
        definition=body.raw("Definition"),
    )
