"""`/v1/agent`: this agent itself, and the services and checks of its node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tulle import __version__
from tulle.model.service import Health
from tulle.registry import transitions
from tulle.registry.agents import AGENT
from tulle.registry.catalog import SERF_HEALTH, Check, Kept, Node, Service, ServiceKey, worst
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.transitions import Entering, Refused
from tulle.server.consul import entering, shapes
from tulle.server.consul.app import Handler, Route
from tulle.server.consul.filters import AGENT_SERVICE, HEALTH_CHECK, test_of
from tulle.server.consul.near import placed
from tulle.server.consul.place import Place
from tulle.server.consul.wire import DONE, Ask, Found, Reply

SPOKEN = "1.21.0"
"""The release of Consul whose API this is, which clients ask for to know what they can use."""
_ALIVE, _FAILED = 1, 4
"""As Serf numbers them."""
_CODES = {Health.PASSING: 200, Health.WARNING: 429, Health.CRITICAL: 503}


class AgentApi:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._place = place

    def routes(self) -> Sequence[Route]:
        put: dict[str, Handler] = {
            "service/register": self.register_service,
            "service/deregister/": self.deregister_service,
            "service/maintenance/": self.maintain_service,
            "maintenance": self.maintain_node,
            "reload": self.reload,
            "check/register": self.register_check,
            "check/deregister/": self.deregister_check,
            "check/pass/": self.check_pass,
            "check/warn/": self.check_warn,
            "check/fail/": self.check_fail,
            "check/update/": self.check_update,
        }
        get: dict[str, Handler] = {
            "self": self.self,
            "version": self.version,
            "members": self.members,
            "services": self.services,
            "service/": self.service,
            "checks": self.checks,
            "health/service/name/": self.health_by_name,
            "health/service/id/": self.health_by_id,
        }
        return [
            *(Route(method="PUT", path=f"/v1/agent/{path}", handler=handler) for path, handler in put.items()),
            *(Route(method="GET", path=f"/v1/agent/{path}", handler=handler) for path, handler in get.items()),
        ]

    @property
    def _node(self) -> str:
        return self._registry.node.name

    @property
    def _tables(self) -> Tables:
        return self._registry.tables

    # === the agent

    def self(self, _: Ask) -> Reply:
        node = self._registry.node
        config = {
            "Datacenter": self._place.datacenter,
            "PrimaryDatacenter": self._place.datacenter,
            "NodeName": node.name,
            "NodeID": node.id,
            "Server": True,
            "Version": SPOKEN,
            "Revision": __version__,
        }
        answer = {
            "Config": config,
            "DebugConfig": {},
            "Coord": placed(self._tables)[node.name].document(),
            "Member": self._member(node.name),
            "Stats": {"consul": {"leader": "true", "leader_addr": self._place.leader, "server": "true"}},
            "Meta": dict(node.meta),
            "xDS": {"SupportedProxies": {"envoy": ["1.40"]}, "Port": -1, "Ports": {"Plaintext": -1, "TLS": -1}},
        }
        return Reply(value=answer)

    def version(self, _: Ask) -> Reply:
        return Reply(value={"SHA": "", "BuildDate": "1970-01-01T00:00:00Z", "HumanVersion": SPOKEN, "FIPS": ""})

    def members(self, ask: Ask) -> Reply:
        """Across datacenters only this one, else every machine with agents too."""
        if ask.has("wan"):
            return Reply(value=[self._member(f"{self._node}.{self._place.datacenter}")])
        others = (kept.value for name, kept in sorted(self._tables.nodes.items()) if AGENT in kept.value.meta and name != self._node)
        return Reply(value=[self._member(self._node), *map(self._other, others)])

    def _other(self, node: Node) -> dict[str, Any]:
        serf = self._tables.checks.get((node.name, SERF_HEALTH))
        failed = serf is not None and serf.value.status is Health.CRITICAL
        tags = {"role": "node", "dc": self._place.datacenter, "id": node.id}
        return {**self._member(node.name), "Addr": node.address, "Tags": tags, "Status": _FAILED if failed else _ALIVE}

    def _member(self, name: str) -> dict[str, Any]:
        tags = {"role": "consul", "dc": self._place.datacenter, "id": self._registry.node.id, "port": str(self._place.server_port)}
        protocol = {"ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4}
        return {"Name": name, "Addr": self._registry.node.address, "Port": 8301, "Tags": tags, "Status": _ALIVE, **protocol}

    async def reload(self, _: Ask) -> Reply:
        await self._place.reload()
        return DONE

    # === services

    async def register_service(self, ask: Ask) -> Reply:
        body = ask.json()
        service = entering.service(body, self._node)
        checks = entering.checks_of_service(body, service, scripts=self._place.scripts)
        replacing = ask.flag("replace-existing-checks")
        beside = entering.sidecar(body, service, self._ports, scripts=self._place.scripts)
        await self._registry.change(lambda tables: self._registering(tables, service, checks, replacing=replacing))
        if beside:
            await self._registry.change(lambda tables: self._registering(tables, *beside, replacing=True))
        return DONE

    def _ports(self) -> dict[str, int]:
        return {kept.value.id: kept.value.port for kept in self._tables.services_on(self._node)}

    def _registering(self, tables: Tables, service: Service, checks: Sequence[Check], *, replacing: bool) -> Sequence[Write]:
        writes = transitions.register(tables, self._registry.node, service, checks)
        stay = {check.id for check in checks}
        for old in tables.checks_of(service.key) if replacing else []:
            if old.value.id not in stay:
                writes += transitions.leave_check(tables, old.value)
        return writes

    async def deregister_service(self, ask: Ask) -> Reply:
        key = (self._node, ask.rest)
        if key not in self._tables.services:
            raise self._unknown_service(ask.rest)
        await self._registry.change(lambda tables: [*transitions.leave_service(tables, key), *_leave_sidecar(tables, key)])
        return DONE

    def _unknown_service(self, identifier: str) -> Refused:
        return Refused(404, f'Unknown service ID "{identifier}". Ensure that the service ID is passed, not the service name.')

    async def maintain_service(self, ask: Ask) -> Reply:
        on = _enabling(ask)
        if not ask.rest:
            raise Refused(400, "Missing service ID")
        kept = self._tables.services.get((self._node, ask.rest))
        if kept is None:
            raise self._unknown_service(ask.rest)
        await self._registry.change(lambda t: transitions.maintain(t, self._node, kept.value, on=on, reason=ask.get("reason")))
        return DONE

    async def maintain_node(self, ask: Ask) -> Reply:
        on = _enabling(ask)
        await self._registry.change(lambda t: transitions.maintain(t, self._node, None, on=on, reason=ask.get("reason")))
        return DONE

    def _shown(self) -> list[Service]:
        """All but the agent itself."""
        return [kept.value for kept in self._tables.services_on(self._node) if kept.value.id != "consul"]

    def services(self, ask: Ask) -> Reply:
        passes = test_of(ask, AGENT_SERVICE)
        found = {s.id: shapes.agent_service(s, self._place.datacenter) for s in self._shown()}
        return Reply(value={identifier: shape for identifier, shape in found.items() if passes(shape)})

    def service(self, ask: Ask) -> Reply | Found:
        key = (self._node, ask.rest)
        if key not in self._tables.services:
            raise Refused(404, f"unknown service ID: {ask.rest}")

        def look() -> Reply:
            kept = self._tables.services.get(key)
            if kept is None:
                return Reply(status=404, body=f"unknown service ID: {ask.rest}".encode(), media="text/plain; charset=utf-8")
            shape = shapes.agent_service(kept.value, self._place.datacenter)
            digest = hashlib.blake2b(json.dumps(shape, sort_keys=True).encode(), digest_size=8).hexdigest()
            return Reply(value={**shape, "ContentHash": digest}, headers={"x-consul-contenthash": digest})

        if ask.get("hash"):
            return Found(topics=(("node", self._node),), look=look, until_hash=ask.get("hash"))
        return look()

    # === health, for load balancers

    def health_by_id(self, ask: Ask) -> Reply:
        found = [s for s in self._shown() if s.id == ask.rest]
        if not found:
            return self._told(ask, 404, Health.CRITICAL, {"AggregatedStatus": "critical", "Service": None, "Checks": []})
        answer = self._aggregated(found[0])
        return self._told(ask, _CODES[Health(answer["AggregatedStatus"])], Health(answer["AggregatedStatus"]), answer)

    def health_by_name(self, ask: Ask) -> Reply:
        found = [self._aggregated(s) for s in self._shown() if s.name == ask.rest]
        if not found:
            return self._told(ask, 404, Health.CRITICAL, [])
        health = worst([Health(answer["AggregatedStatus"]) for answer in found])
        return self._told(ask, _CODES[health], health, found)

    def _aggregated(self, service: Service) -> dict[str, Any]:
        checks = self._tables.health_checks(service.key)
        status = worst([kept.value.status for kept in checks])
        shown = [shapes.check(kept, self._registry.output(kept.value)) for kept in checks]
        return {"AggregatedStatus": status.value, "Service": shapes.agent_service(service, self._place.datacenter), "Checks": shown}

    def _told(self, ask: Ask, status: int, health: Health, value: object) -> Reply:
        if ask.get("format") == "text" or ask.headers.get("accept", "").startswith("text/plain"):
            return Reply(status=status, body=health.value.encode(), media="text/plain; charset=utf-8")
        return Reply(status=status, value=value)

    # === checks

    async def register_check(self, ask: Ask) -> Reply:
        body = ask.json()
        name = body.text("Name")
        if not name:
            raise Refused(400, "Missing check name")
        service_id = body.text("ServiceID")
        if service_id and (self._node, service_id) not in self._tables.services:
            raise Refused(404, f'ServiceID "{service_id}" does not exist')
        given = body.part("Check") or body
        check = entering.check(given, self._node, body.text("CheckID", "ID") or name, name, service_id, scripts=self._place.scripts)
        if given is not body:
            notes, status = body.text("Notes") or check.notes, entering.status(body.text("Status"), check.status)
            check = replace(check, notes=notes, status=status)
        here = Entering(node=self._registry.node, keep_node=True, checks=(check,))
        await self._registry.change(lambda tables: transitions.enter(tables, here))
        return DONE

    async def deregister_check(self, ask: Ask) -> Reply:
        kept = self._known_check(ask)
        await self._registry.change(lambda tables: transitions.leave_check(tables, kept.value))
        return DONE

    def _known_check(self, ask: Ask) -> Kept[Check]:
        kept = self._tables.checks.get((self._node, ask.rest))
        if kept is None:
            raise Refused(404, f'Unknown check ID "{ask.rest}". Ensure that the check ID is passed, not the check name.')
        return kept

    async def check_pass(self, ask: Ask) -> Reply:
        return await self._beat(ask, Health.PASSING)

    async def check_warn(self, ask: Ask) -> Reply:
        return await self._beat(ask, Health.WARNING)

    async def check_fail(self, ask: Ask) -> Reply:
        return await self._beat(ask, Health.CRITICAL)

    async def _beat(self, ask: Ask, status: Health) -> Reply:
        self._known_check(ask)
        await self._registry.beat(ask.rest, status, ask.get("note"))
        return DONE

    async def check_update(self, ask: Ask) -> Reply:
        body = ask.json()
        given = body.text("Status")
        if given not in ("passing", "warning", "critical"):
            raise Refused(400, f'Invalid check status: "{given[:64]}"')
        self._known_check(ask)
        await self._registry.beat(ask.rest, Health(given), body.text("Output"))
        return DONE

    def checks(self, ask: Ask) -> Reply:
        passes = test_of(ask, HEALTH_CHECK)
        own = sorted(self._tables.checks_of_node.get(self._node, ()))
        kept = {identifier: self._tables.checks[self._node, identifier] for identifier in own if identifier != "serfHealth"}
        shown = {identifier: shapes.check(check, self._registry.output(check.value)) for identifier, check in kept.items()}
        return Reply(value={identifier: shape for identifier, shape in shown.items() if passes(shape)})


def _leave_sidecar(tables: Tables, key: ServiceKey) -> Sequence[Write]:
    """A proxy that was registered with its service goes with it."""
    kept = tables.services.get((key[0], entering.sidecar_id(key[1])))
    ahead = kept is not None and kept.value.kind == "connect-proxy" and json.loads(kept.value.proxy).get("DestinationServiceID") == key[1]
    return transitions.leave_service(tables, kept.value.key) if kept and ahead else ()


def _enabling(ask: Ask) -> bool:
    given = ask.get("enable")
    if given.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise Refused(400, "Missing value for enable" if not given else f"Invalid value for enable: {given[:32]!r}")
    return given.lower() in ("true", "1", "t")
