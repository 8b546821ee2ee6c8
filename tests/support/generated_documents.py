"""VirtualServices made by chance, as documents, with the mesh around them: gateways, sidecars and services with real endpoints.

Every scene has a namespace of its own. Its rules are seen by its own sidecar, or by its own port of the one gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from support.agreement import Sent
from support.generated_routes import (
    HEADERS,
    HOSTS,
    METHODS,
    ODD_PATHS,
    ORIGINS,
    PATHS,
    QUERIES,
    REGEX_REWRITES,
    VALUE_REGEXES,
    VALUES,
    Chance,
)
from tulle.compile import Mesh, build, view
from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs
from tulle.model.proxy import FilterChain, HttpConnections, Layer, Listener, Node, ProxyView, Role
from tulle.model.service import RegisteredPort, Registration
from tulle.resources.read import read

SERVICES = ("cart", "stock", "user")
VERSIONS = ("v1", "v2")
UPSTREAMS = tuple(f"{service}-{version}" for service in SERVICES for version in VERSIONS)
PORT = 8000
GATEWAY = Node(
    id="gateway~test", role=Role.GATEWAY, namespace="istio-system", labels=FrozenMap({"istio": "ingressgateway"}), bind="127.0.0.1"
)
EXTERNAL = ("a.example", "b.example", "x.a.example", "*.example", "*.a.example", "10.0.0.1", "*")


@dataclass(frozen=True)
class Scene:
    """The rules of one namespace, and the proxy that follows them."""

    name: str
    seed: int
    documents: tuple[dict[str, Any], ...]
    node: Node
    port: int
    """The gateway's declared port; 0 for a sidecar."""
    hosts: tuple[str, ...]


def scene(seed: int, number: int) -> Scene:
    chance = Rules(seed, f"ns{number}")
    return chance.at_gateway(20000 + number) if chance.maybe(60) else chance.at_sidecar()


def mesh_of(scenes: list[Scene], ports: Mapping[str, int]) -> Mesh:
    """Compiles all scenes into one mesh. What the readers refuse fails the test: the generator makes good documents only."""
    documents = [document for one in scenes for document in one.documents]
    found = read(yaml.dump_all(documents, Dumper=yaml.CSafeDumper), "generated.yaml")
    assert not found.violations, "\n".join(map(str, found.violations[:10]))
    resources = {r.key: replace(r, created=n) for n, r in enumerate(found.resources)}
    return build(Inputs(resources=resources, registrations={r.id: r for r in _registrations(ports)})).mesh


def _registrations(ports: Mapping[str, int]) -> list[Registration]:
    made = []
    for name, port in ports.items():
        service, version = name.split("-")
        labels = FrozenMap({"app": service, "version": version})
        registered = (RegisteredPort(number=PORT, target=port, name="http"),)
        made.append(Registration(id=name, service=service, namespace="apps", ports=registered, labels=labels))
    return made


def merged(scenes: list[Scene], mesh: Mesh) -> tuple[ProxyView, dict[str, ProxyView]]:
    """One view with the listeners of all scenes, under the scenes' names, for one Envoy; and each scene's own view."""
    own = {one.name: view(mesh, one.node) for one in scenes}
    clusters = {c.name: c for v in own.values() for c in v.clusters}
    groups = {g.name: g for v in own.values() for g in v.endpoints}
    listeners = [_open(one, own[one.name]) for one in scenes]
    internal = {x.name: _inlined(x, v) for v in own.values() for x in v.listeners if not x.address}
    layer = Layer(listeners=(*listeners, *internal.values()), clusters=tuple(clusters.values()), endpoints=tuple(groups.values()))
    return ProxyView(layers=(layer,)), own


def _open(one: Scene, seen: ProxyView) -> Listener:
    """The scene's listener, on a free port."""
    found = next(x for x in seen.listeners if x.address and (one.port in (0, x.declared_port or x.port)))
    return _inlined(replace(found, name=one.name, port=0), seen)


def _inlined(listener: Listener, seen: ProxyView) -> Listener:
    """The listener with a table of its own."""
    tables = {t.name: t for t in seen.route_tables}

    def chain(of: FilterChain) -> FilterChain:
        serve = of.serve
        if not isinstance(serve, HttpConnections) or not isinstance(serve.routes, str):
            return of
        return replace(of, serve=replace(serve, routes=replace(tables[serve.routes], name=f"{listener.name}/{serve.routes}")))

    return replace(listener, chains=tuple(map(chain, listener.chains)))


class Rules(Chance):
    """Documents for one namespace."""

    def __init__(self, seed: int, namespace: str) -> None:
        super().__init__(seed)
        self.seed = seed
        self.namespace = namespace
        self.gateway: str | None = None

    def at_gateway(self, port: int) -> Scene:
        self.gateway = "gate"
        server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
        gate = self.document("Gateway", "gate", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
        hosts = self.some(EXTERNAL, 1, 4)
        split = self.random.randint(1, len(hosts))
        services = [self.virtual_service(n, part) for n, part in enumerate((hosts[:split], hosts[split:])) if part]
        if self.maybe(15):
            services.append(self.virtual_service(2, self.some(hosts, 1, 1)))
        return self._scene((gate, *services, *self.subsets()), GATEWAY, port, tuple(hosts))

    def at_sidecar(self) -> Scene:
        named = self.some(SERVICES, 1, 3)
        services = [self.virtual_service(n, [f"{name}.apps.svc.cluster.local"]) for n, name in enumerate(named)]
        node = Node(id=f"sidecar~{self.namespace}", role=Role.SIDECAR, namespace=self.namespace, http_proxy=("127.0.0.1", 15001))
        return self._scene((*services, *self.subsets()), node, 0, tuple(SERVICES))

    def _scene(self, documents: tuple[dict[str, Any], ...], node: Node, port: int, hosts: tuple[str, ...]) -> Scene:
        return Scene(name=self.namespace, seed=self.seed, documents=documents, node=node, port=port, hosts=hosts)

    def document(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}

    def subsets(self) -> list[dict[str, Any]]:
        """Subsets of all services, once for the whole mesh."""
        if self.namespace != "ns0":
            return []
        subsets = [{"name": v, "labels": {"version": v}} for v in VERSIONS]
        made = (self.document("DestinationRule", s, {"host": f"{s}.apps.svc.cluster.local", "subsets": subsets}) for s in SERVICES)
        return [{**d, "metadata": {**d["metadata"], "namespace": "apps"}} for d in made]

    def virtual_service(self, number: int, hosts: list[str]) -> dict[str, Any]:
        rules = [self.rule(n) for n in range(self.random.randint(1, 5))]
        spec: dict[str, Any] = {"hosts": hosts, "http": rules}
        spec |= {"gateways": ["gate"]} if self.gateway else {"exportTo": ["."]}
        return self.document("VirtualService", f"rules-{number}", spec)

    def rule(self, number: int) -> dict[str, Any]:
        rule: dict[str, Any] = {"name": f"rule-{number}"} if self.maybe(50) else {}
        if self.maybe(85):
            rule["match"] = [self.condition() for _ in range(self.one((1, 1, 2)))]
        rule |= self.end()
        if self.maybe(20):
            rule["headers"] = {"request": self.operations(), "response": self.operations()}
        if self.maybe(15):
            rule["corsPolicy"] = self.cors_policy()
        return rule

    def condition(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.maybe(75):
            made["uri"] = self.one(
                ({"prefix": self.one(PATHS)}, {"exact": self.one(PATHS)}, {"regex": self.one(("/a.*", ".*/b", "/v[0-9]+/.*"))})
            )
            if self.maybe(20):
                made["ignoreUriCase"] = True
        if self.maybe(20):
            made["method"] = {"exact": self.one(("GET", "POST", "PUT"))}
        if self.maybe(30):
            made["headers"] = {self.header(): self.text_match() for _ in range(self.one((1, 2)))}
        if self.maybe(20):
            made["withoutHeaders"] = {self.header(): self.text_match()}
        if self.maybe(15):
            made["queryParams"] = {self.one("xy"): self.one(({"exact": "1"}, {"regex": "[0-9]"}, {"exact": ""}))}
        if self.maybe(8):
            made["authority"] = self.one(({"exact": self.one([h for h in HOSTS if h])}, {"prefix": "a"}))
        if self.maybe(8):
            made["port"] = self.one((PORT, 80, 20000))
        return made or {"uri": {"prefix": "/"}}

    def header(self) -> str:
        return self.one([h.lower() for h in HEADERS])

    def text_match(self) -> dict[str, str]:
        kind = self.one(("exact", "exact", "prefix", "regex", "any"))
        if kind == "any":
            return {}
        values = VALUE_REGEXES if kind == "regex" else [v for v in VALUES if v]
        return {kind: self.one(values)}

    def end(self) -> dict[str, Any]:
        kind = self.random.random()
        if kind < 0.1:
            return {"directResponse": {"status": self.one((200, 404, 503)), "body": {"string": "said"}}}
        if kind < 0.28:
            return {"redirect": self.redirection()}
        made: dict[str, Any] = {"route": self.routes()}
        if self.maybe(35):
            made["rewrite"] = self.rewrite()
        if self.maybe(12):
            made["fault"] = {"abort": {"httpStatus": 418, "percentage": {"value": self.one((0, 100))}}}
        return made

    def routes(self) -> list[dict[str, Any]]:
        names = self.some(SERVICES, 1, self.one((1, 1, 2)))
        made = [self.to(name) for name in names]
        for each in made if len(made) > 1 else ():
            each["weight"] = self.random.randint(1, 9)
        if self.maybe(20):
            made[0]["headers"] = {"request": self.operations()}
        return made

    def to(self, name: str) -> dict[str, Any]:
        subset = {"subset": self.one((*VERSIONS, "gone"))} if self.maybe(60) else {}
        host = f"{'nowhere' if self.maybe(4) else name}.apps.svc.cluster.local"
        return {"destination": {"host": host, "port": {"number": PORT}, **subset}}

    def rewrite(self) -> dict[str, Any]:
        if self.maybe(30):
            pattern, rewrite = self.one([pair for pair in REGEX_REWRITES if pair[0]])
            return {"uriRegexRewrite": {"match": pattern, "rewrite": rewrite}}
        made = {"uri": self.one(("/", "/new", "/v2/"))} if self.maybe(70) else {}
        return made if made and self.maybe(60) else {**made, "authority": "other.example"}

    def redirection(self) -> dict[str, Any]:
        made: dict[str, Any] = {"uri": self.one(("/moved", "/moved?z=1"))} if self.maybe(50) else {}
        if not made or self.maybe(50):
            made["authority"] = "moved.example"
        if self.maybe(40):
            made["redirectCode"] = self.one((302, 307, 308))
        if self.maybe(30):
            made["scheme"] = "https"
        if self.maybe(30):
            made |= self.one(({"port": 8443}, {"derivePort": "FROM_REQUEST_PORT"}, {"derivePort": "FROM_PROTOCOL_DEFAULT"}))
        return made

    def operations(self) -> dict[str, Any]:
        names = ["x-new", "x-a", "end-user", "x-version"]
        made = {"set": dict.fromkeys(self.some(names, 0, 1), "set"), "add": dict.fromkeys(self.some(names, 0, 2), "50%%")}
        return {**made, "remove": self.some(names, 0, 1)}

    def cors_policy(self) -> dict[str, Any]:
        return {"allowOrigins": [{"exact": self.one(ORIGINS)}, {"regex": "https?://[ab].*"}], "allowMethods": ["GET"], "maxAge": "5s"}

    # ---- requests

    def ask(self, one: Scene) -> Sent:
        headers = [("host", self.caller_host(one)), *((h, self.one(VALUES)) for h in self.some(HEADERS, 0, 3))]
        if self.maybe(15):
            headers += [("origin", self.one((*ORIGINS, "http://z.example"))), ("access-control-request-method", "PUT")]
        method = self.one(METHODS[:7]) if self.maybe(35) else "GET"
        path = self.one(ODD_PATHS) if self.maybe(10) else self.one(PATHS)
        path += self.one(("", "", "/b", "/")) + self.one(QUERIES) if "?" not in path else ""
        target = path if one.port or not path.startswith("/") else f"http://{headers[0][1]}{path}"
        return Sent(method=method, target=target, headers=headers)

    def caller_host(self, one: Scene) -> str:
        if one.port:
            host = self.one(HOSTS) if self.maybe(30) else self.one(one.hosts).replace("*", self.one(("a", "x.y", "w")))
            return f"{host}:{one.port}" if self.maybe(10) and ":" not in host else host
        name = self.one(SERVICES)
        return self.one(
            (f"{name}.apps:8000", f"{name}.apps.svc:8000", f"{name}.apps.svc.cluster.local:8000", f"{name.upper()}.apps:8000", name)
        )
