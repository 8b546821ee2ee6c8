"""`/v1/discovery-chain`: what the entries for a service come to, as Consul tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tulle.model.resource import Resource
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.body import Body
from tulle.server.consul.config.entries import shown
from tulle.server.consul.config.held import TOPIC, HeldEntries
from tulle.server.consul.place import Place
from tulle.server.consul.wire import Ask, Found, Reply

Json = dict[str, Any]
_PROTOCOL = "http"
"""What services speak of which nothing is said."""


class ChainApi:
    def __init__(self, held: HeldEntries, place: Place) -> None:
        self._held = held
        self._place = place

    def routes(self) -> Sequence[Route]:
        return [Route(method=method, path="/v1/discovery-chain/", handler=self.chain) for method in ("GET", "POST")]

    def chain(self, ask: Ask) -> Found | Reply:
        """What a body overrides is for this one answer."""
        if not ask.rest:
            raise Refused(400, "Missing chain name")
        said = _overrides(ask.json()) if ask.method == "POST" and ask.body.strip() else _NOTHING

        def look() -> Reply:
            return Reply(value={"Chain": _Chain(self._held, self._place.datacenter, ask.rest, said).told()})

        return look() if said != _NOTHING else Found(topics=(TOPIC,), look=look, index=lambda: self._held.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overrides:
    protocol: str = ""
    connect_timeout: str = ""


_NOTHING = _Overrides()


def _overrides(body: Body) -> _Overrides:
    """Raises Refused for what no chain here can be given."""
    if (gateway := body.part("OverrideMeshGateway")) and gateway.text("Mode") not in ("", "none"):
        raise Refused(400, "OverrideMeshGateway: there are no mesh gateways")
    timeout = body.seconds("OverrideConnectTimeout")
    return _Overrides(protocol=body.text("OverrideProtocol"), connect_timeout=f"{timeout:g}s" if timeout > 0 else "")


class _Chain:
    """Nodes and targets, found on the way from a service."""

    def __init__(self, held: HeldEntries, datacenter: str, service: str, said: _Overrides) -> None:
        self._said = said
        self._held = held
        self._datacenter = datacenter
        self._service = service
        self._nodes: dict[str, Json] = {}
        self._targets: dict[str, Json] = {}

    def told(self) -> Json:
        start = self._router() if self._held.get("service-router", self._service) else self._splitter(self._service)
        spoken = self._said.protocol or self._protocol()
        return {
            "ServiceName": self._service,
            "Namespace": "default",
            "Partition": "default",
            "Datacenter": self._datacenter,
            "Protocol": spoken,
            "Default": len(self._nodes) == 1 and self._held.get("service-resolver", self._service) is None,
            "StartNode": start,
            "Nodes": self._nodes,
            "Targets": self._targets,
        }

    def _protocol(self) -> str:
        defaults, proxies = self._held.get("service-defaults", self._service), self._held.get("proxy-defaults", "global")
        return (defaults.spec.protocol if defaults else "") or (proxies.spec.protocol if proxies else "") or _PROTOCOL

    def _router(self) -> str:
        name = f"{self._service}.default.default"
        router = self._held.get("service-router", self._service)
        routes = []
        for definition in _parts(router, "Routes"):
            to = definition.get("Destination") or {}
            node = self._leg(to.get("Service") or self._service, to.get("ServiceSubset", ""))
            routes.append({"Definition": definition, "NextNode": node})
        rest = {"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": {"Service": self._service}}
        routes.append({"Definition": rest, "NextNode": self._splitter(self._service)})
        self._nodes[f"router:{name}"] = {"Type": "router", "Name": name, "Routes": routes}
        return f"router:{name}"

    def _leg(self, service: str, subset: str) -> str:
        return self._resolver(service, subset) if subset else self._splitter(service)

    def _splitter(self, service: str) -> str:
        splitter = self._held.get("service-splitter", service)
        key = f"splitter:{service}.default.default"
        if splitter is None:
            return self._resolver(service, "")
        if key not in self._nodes:
            node: Json = {"Type": "splitter", "Name": f"{service}.default.default", "Splits": []}
            self._nodes[key] = node
            for split in _parts(splitter, "Splits"):
                to, subset = split.get("Service") or service, split.get("ServiceSubset", "")
                following = self._resolver(to, subset) if to == service else self._leg(to, subset)
                node["Splits"].append({"Definition": split, "Weight": split["Weight"], "NextNode": following})
        return key

    def _resolver(self, service: str, subset: str, seen: frozenset[str] = frozenset()) -> str:
        resolver = self._held.get("service-resolver", service)
        spec = resolver.spec if resolver else None
        if spec and spec.redirect and service not in seen and (spec.redirect.service or spec.redirect.service_subset):
            return self._resolver(spec.redirect.service or service, spec.redirect.service_subset or subset, seen | {service})
        subset = subset or (spec.default_subset if spec and spec.default_subset else "")
        target = self._target(service, subset, resolver)
        own = f"{spec.connect_timeout.total_seconds():g}s" if spec and spec.connect_timeout else "5s"
        timeout = self._said.connect_timeout or own
        behind = (spec.failover.get(subset) or spec.failover.get("*")) if spec else None
        node: Json = {"Default": resolver is None, "ConnectTimeout": timeout, "Target": target}
        if behind:
            node["Failover"] = {"Targets": [self._target(s or service, part or "", resolver) for s, part in behind.legs()]}
        self._nodes[f"resolver:{target}"] = {"Type": "resolver", "Name": target, "Resolver": node}
        return f"resolver:{target}"

    def _target(self, service: str, subset: str, resolver: Resource[Any] | None) -> str:
        identifier = ".".join(part for part in (subset, service, "default.default", self._datacenter) if part)
        known = resolver.spec.subsets.get(subset) if resolver and subset else None
        self._targets[identifier] = {
            "ID": identifier,
            "Service": service,
            "ServiceSubset": subset,
            "Namespace": "default",
            "Partition": "default",
            "Datacenter": self._datacenter,
            "MeshGateway": {},
            "Subset": {"Filter": known.filter, "OnlyPassing": known.only_passing} if known else {},
            "ConnectTimeout": self._said.connect_timeout or "5s",
            "SNI": f"{service}.default.svc",
            "Name": f"{service}.default.svc",
        }
        return identifier


def _parts(resource: Resource[Any] | None, field: str) -> list[Json]:
    return list(shown(resource).get(field) or ()) if resource else []
