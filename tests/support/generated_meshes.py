"""Whole meshes made by chance: documents of every kind over a small vocabulary, so that they overlap, contradict and miss each other.

What the readers refuse is dropped, as in a running mesh; what is left must compile to something that Envoy accepts.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import yaml

from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs, MeshSettings
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.service import Health, Protocol, RegisteredPort, Registration
from tulle.resources.read import read

NAMESPACES = ("default", "other")
SERVICES = ("foo", "bar", "redis", "cart")
PORTS = {"foo": (80, Protocol.HTTP), "bar": (8080, Protocol.HTTP), "redis": (6379, Protocol.TCP), "cart": (7070, Protocol.GRPC)}
VERSIONS = ("v1", "v2")
OUTSIDE = ("api.example.com", "*.example.com", "*.com", "cdn.example.net", "192.0.2.80")
HOSTS = (
    *SERVICES,
    "foo.default",
    "foo.default.svc.cluster.local",
    "bar.other.svc.cluster.local",
    "*.svc.cluster.local",
    "nobody",
    *OUTSIDE,
)
GATEWAYS = ("edge", "other/edge", "mesh", "nowhere")


class Dice:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.made = 0

    def one(self, options: Any) -> Any:
        return self.random.choice(options)

    def maybe(self, percent: int) -> bool:
        return self.random.random() * 100 < percent

    def some(self, options: Any, low: int, high: int) -> list[Any]:
        return self.random.sample(options, min(len(options), self.random.randint(low, high)))

    def inputs(self) -> Inputs:
        kinds = (
            self.virtual_service,
            self.virtual_service,
            self.destination_rule,
            self.gateway,
            self.service_entry,
            self.sidecar,
            self.core,
        )
        documents = [self.one(kinds)() for _ in range(self.random.randint(1, 12))]
        found = [read(yaml.safe_dump(document), f"{n}.yaml") for n, document in enumerate(documents)]
        resources = {r.key: replace(r, created=n) for n, one in enumerate(found) for r in one.resources}
        registrations = {r.id: r for r in (self.registration() for _ in range(self.random.randint(0, 8)))}
        return Inputs(resources=resources, registrations=registrations, settings=MeshSettings(allow_any=self.maybe(80)))

    # ---- documents

    def document(self, kind: str, spec: dict[str, Any], version: str = "networking.istio.io/v1") -> dict[str, Any]:
        self.made += 1
        metadata = {"name": f"{kind.lower()}-{self.made}", "namespace": self.one((*NAMESPACES, "istio-system"))}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

    def virtual_service(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"hosts": self.some(HOSTS, 1, 3)}
        if self.maybe(40):
            spec["gateways"] = self.some(GATEWAYS, 1, 2)
        if self.maybe(15):
            spec["exportTo"] = [self.one((".", "*", "other"))]
        if self.maybe(85):
            spec["http"] = [self.http() for _ in range(self.random.randint(1, 3))]
        if self.maybe(25):
            spec["tcp"] = [self.tcp() for _ in range(self.random.randint(1, 2))]
        return self.document("VirtualService", spec)

    def http(self) -> dict[str, Any]:
        rule: dict[str, Any] = {"route": self.routes()}
        if self.maybe(50):
            rule["match"] = [self.one(({"uri": {"prefix": "/a"}}, {"port": 80}, {"gateways": ["mesh"]}, {"sourceLabels": {"app": "foo"}}))]
        extra = {
            "timeout": "1s",
            "retries": self.one(({"attempts": 0}, {"attempts": 3, "retryOn": "5xx,503"})),
            "mirror": self.destination(),
            "rewrite": self.one(({"uri": "/x"}, {"authority": "x.example.com"})),
            "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 10}}},
            "headers": {"request": {"set": {"x-a": "1"}, "remove": ["x-b"]}},
        }
        for name in self.some(sorted(extra), 0, 3):
            rule[name] = extra[name]
        return rule

    def tcp(self) -> dict[str, Any]:
        return {"route": self.routes(), **({"match": [{"port": self.one((6379, 80, 31400))}]} if self.maybe(60) else {})}

    def routes(self) -> list[dict[str, Any]]:
        made = [{"destination": self.destination()} for _ in range(self.one((1, 1, 2, 3)))]
        return [{**one, "weight": self.random.randint(0, 5)} for one in made] if len(made) > 1 else made

    def destination(self) -> dict[str, Any]:
        made: dict[str, Any] = {"host": self.one([h for h in HOSTS if not h.startswith("*")])}
        if self.maybe(40):
            made["subset"] = self.one((*VERSIONS, "unknown"))
        if self.maybe(40):
            made["port"] = {"number": self.one((80, 8080, 6379, 443, 1))}
        return made

    def destination_rule(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"host": self.one(HOSTS), "trafficPolicy": self.policy()}
        if self.maybe(70):
            spec["subsets"] = [{"name": v, "labels": {"version": v}, "trafficPolicy": self.policy()} for v in VERSIONS]
        return self.document("DestinationRule", spec)

    def policy(self) -> dict[str, Any]:
        policy: dict[str, Any] = {}
        if self.maybe(60):
            policy["loadBalancer"] = self.one(
                (
                    *({"simple": name} for name in ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH")),
                    {"consistentHash": {"useSourceIp": True}},
                    {"consistentHash": {"httpHeaderName": "x-user", "maglev": {}}},
                    {"simple": "ROUND_ROBIN", "warmup": {"duration": "10s"}},
                )
            )
        if self.maybe(40):
            policy["connectionPool"] = self.one(
                (
                    {"tcp": {"maxConnections": 3, "idleTimeout": "5s", "maxConnectionDuration": "1m"}},
                    {"http": {"http1MaxPendingRequests": 1, "h2UpgradePolicy": "UPGRADE", "idleTimeout": "3s"}},
                    {"http": {"useClientProtocol": True, "maxRequestsPerConnection": 1}},
                )
            )
        if self.maybe(40):
            policy["outlierDetection"] = self.one(
                ({}, {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 2, "baseEjectionTime": "10m"})
            )
        return policy

    def gateway(self) -> dict[str, Any]:
        servers = [self.server() for _ in range(self.random.randint(1, 3))]
        made = self.document("Gateway", {"selector": {"istio": "ingressgateway"}, "servers": servers})
        made["metadata"]["name"] = "edge"
        return made

    def server(self) -> dict[str, Any]:
        number, protocol = self.one(((80, "HTTP"), (8080, "HTTP"), (8080, "HTTP2"), (31400, "TCP"), (80, "TCP"), (7070, "GRPC")))
        port = {"number": number, "name": f"p{self.random.randint(0, 99)}", "protocol": protocol}
        return {"port": port, "hosts": self.some(("*", "./*", "api.example.com", "other/*.example.com", "*.com"), 1, 2)}

    def service_entry(self) -> dict[str, Any]:
        resolution = self.one(("STATIC", "DNS", "DNS_ROUND_ROBIN", "NONE"))
        spec: dict[str, Any] = {
            "hosts": self.some((*OUTSIDE[:4], "foo.default.svc.cluster.local"), 1, 2),
            "resolution": resolution,
            "location": self.one(("MESH_EXTERNAL", "MESH_INTERNAL")),
            "ports": self.one(
                (
                    [{"number": 80, "name": "http", "protocol": "HTTP"}],
                    [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 443, "name": "tls", "protocol": "TLS"}],
                    [{"number": 6379, "name": "tcp", "protocol": "TCP", "targetPort": 16379}],
                    [{"number": 7070, "name": "grpc", "protocol": "GRPC"}],
                )
            ),
        }
        if resolution == "STATIC":
            spec["endpoints"] = [{"address": f"192.0.2.{n}", "labels": {"version": self.one(VERSIONS)}, "locality": "eu/a"} for n in (1, 2)]
        elif resolution.startswith("DNS") and self.maybe(50):
            spec["endpoints"] = [{"address": "cdn.example.net", "labels": {"version": "v1"}}]
        return self.document("ServiceEntry", spec)

    def sidecar(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"egress": [{"hosts": self.some(("./*", "*/*", "other/*", "*/api.example.com", "~/*"), 1, 2)}]}
        if self.maybe(30):
            spec["outboundTrafficPolicy"] = {"mode": self.one(("REGISTRY_ONLY", "ALLOW_ANY"))}
        if self.maybe(40):
            spec["workloadSelector"] = {"labels": {"app": self.one(SERVICES)}}
        return self.document("Sidecar", spec)

    def core(self) -> dict[str, Any]:
        ports = self.one(([{"name": "http", "port": 80, "targetPort": 8080}], [{"port": 9999}], [{"name": "tcp", "port": 6379}]))
        made = self.document("Service", {"selector": {"app": self.one(SERVICES)}, "ports": ports}, "v1")
        made["metadata"]["name"] = self.one(SERVICES)
        return made

    # ---- workloads

    def registration(self) -> Registration:
        service, version = self.one(SERVICES), self.one(VERSIONS)
        number, protocol = PORTS[service]
        self.made += 1
        return Registration(
            id=f"{service}-{self.made}",
            service=service,
            namespace=self.one(NAMESPACES),
            labels=FrozenMap({"app": service, "version": version}),
            ports=(RegisteredPort(number=number, target=20000 + self.made, name=protocol.value.lower(), protocol=protocol),),
            health=self.one((Health.PASSING, Health.PASSING, Health.CRITICAL)),
            weight=self.one((1, 1, 5)),
        )

    def nodes(self) -> tuple[Node, ...]:
        gateway = Node(id="gateway~edge", role=Role.GATEWAY, namespace="istio-system", labels=FrozenMap({"istio": "ingressgateway"}))
        return (gateway, *(self.sidecar_node(service) for service in self.some(SERVICES, 1, 2)))

    def sidecar_node(self, service: str) -> Node:
        number, protocol = PORTS[service]
        wanted = self.some((("redis", 6379), ("foo", 80), ("foo.default", 80), ("api.example.com", 443), ("nobody", 1)), 0, 3)
        return Node(
            id=f"sidecar~{service}",
            role=Role.SIDECAR,
            namespace=self.one(NAMESPACES),
            service=service,
            labels=FrozenMap({"app": service, "version": self.one(VERSIONS)}),
            inbound=(InboundPort(service_port=number, listen=20000, target=30000, protocol=protocol),),
            http_proxy=("127.0.0.1", 15001),
            upstreams=tuple(Upstream(host=host, port=port, bind_port=16000 + n) for n, (host, port) in enumerate(wanted)),
        )
