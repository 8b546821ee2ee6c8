"""Documents of the Gateway API made by chance, and requests that come near to them: small vocabularies, so that rules overlap."""

from __future__ import annotations

from random import Random
from typing import Any

import yaml

API = "gateway.networking.k8s.io/v1"
SERVICES = ("a", "b", "c")
PORT = 8080
HOSTS = ("a.example", "b.a.example", "c.b.a.example", "b.example", "example", "a.test", "A.Example", "x.test")
PATTERNS = ("a.example", "*.example", "*.a.example", "b.a.example", "*.test", "b.example")
PATHS = ("/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/v1/items", "/v1/items/7", "/b", "/a%20b")
EXPRESSIONS = ("/a.*", "/v[0-9]+/items(/.*)?", "/[ab]", ".*/b", "/(a|b)/b")
CALLS = ("/pkg.Echo/Say", "/pkg.Echo/Talk", "/other.Echo/Say", "/pkg.Echo", "/s/m")
NAMES, VALUES = ("x-one", "x-two", "version"), ("1", "2", "one", "two")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS")


class Chance:
    """A scene and its requests, all from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.mesh = self._maybe(25)
        """Whether rules are for callers of the service `a`, instead of at a gateway."""
        self.ports = (PORT,) if self.mesh else (80, 81)

    def documents(self) -> str:
        documents = [] if self.mesh else [self._gateway()]
        kinds = ("HTTPRoute", "HTTPRoute", "HTTPRoute", "GRPCRoute")
        documents += [self._route(self._one(kinds), f"r{number}") for number in range(self._random.randint(1, 5))]
        return str(yaml.safe_dump_all(documents))

    def request(self) -> tuple[str, str, dict[str, str]]:
        """Method, URL and headers."""
        host = "a.default" if self.mesh else self._one(HOSTS)
        path = self._one((*PATHS, *CALLS)) + self._one(("", "", "?q=1", "?q=2", "?p=1&q=1", "?Q=1"))
        if self._maybe(20):
            path = path.rstrip("/") + self._one(("/", "/b", "b")) if "?" not in path else path
        headers = {name: self._one(VALUES) for name in NAMES if self._maybe(30)}
        if self._maybe(20):
            headers |= {"origin": self._one(("https://a.example", "https://x.b.example", "http://c.example"))}
            headers |= {"access-control-request-method": "PUT"} if self._maybe(60) else {}
        return self._one(METHODS), f"http://{host}:{self._one(self.ports)}{path or '/'}", headers

    # Documents

    def _gateway(self) -> dict[str, Any]:
        listeners: list[dict[str, Any]] = []
        for number in range(self._random.randint(1, 4)):
            one = {"name": f"l{number}", "port": self._one(self.ports), "protocol": "HTTP"}
            one |= {"hostname": self._one(PATTERNS)} if self._maybe(60) else {}
            if (one["port"], one.get("hostname")) not in [(other["port"], other.get("hostname")) for other in listeners]:
                listeners.append(one)
        return self._document("Gateway", "edge", {"gatewayClassName": "tulle", "listeners": listeners})

    def _route(self, kind: str, name: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"parentRefs": [self._parent()]}
        if self._maybe(50):
            spec["hostnames"] = self._some(PATTERNS, 3)
        make = self._http_rule if kind == "HTTPRoute" else self._grpc_rule
        spec["rules"] = [make() for _ in range(self._random.randint(1, 4))]
        return self._document(kind, name, spec)

    def _parent(self) -> dict[str, Any]:
        if self.mesh:
            return {"group": "", "kind": "Service", "name": "a"}
        return {"name": "edge"} | ({"sectionName": self._one(("l0", "l1"))} if self._maybe(20) else {})

    def _document(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}

    def _http_rule(self) -> dict[str, Any]:
        matches = [self._http_match() for _ in range(self._one((0, 1, 1, 2)))]
        rule: dict[str, Any] = {"matches": matches} if matches else {}
        by_prefix = len(matches) < 2 and all(m.get("path", {}).get("type", "PathPrefix") == "PathPrefix" for m in matches)
        filters = self._filters(by_prefix=by_prefix)
        if not any(f["type"] == "RequestRedirect" for f in filters):
            rule["backendRefs"] = self._backends()
        return rule | ({"filters": filters} if filters else {})

    def _http_match(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._maybe(80):
            how = self._one(("PathPrefix", "PathPrefix", "Exact", "RegularExpression"))
            found["path"] = {"type": how, "value": self._one(EXPRESSIONS if how == "RegularExpression" else PATHS)}
        if self._maybe(30):
            found["headers"] = self._values("one|two")
        if self._maybe(20):
            found["queryParams"] = [{"name": self._one("qp"), "value": self._one("12")}]
        return found | ({"method": self._one(METHODS)} if self._maybe(20) else {})

    def _values(self, expression: str) -> list[dict[str, str]]:
        plain = [{"name": name, "value": self._one(VALUES)} for name in self._some(NAMES, 2)]
        return [plain[0] | {"type": "RegularExpression", "value": expression}] if self._maybe(20) else plain

    def _grpc_rule(self) -> dict[str, Any]:
        matches = []
        for _ in range(self._one((0, 1, 1, 2))):
            method = {"service": "pkg.Echo", "method": "Say"}
            found = {"method": {name: method[name] for name in self._some(tuple(method), 2)}} if self._maybe(70) else {}
            matches.append(found | ({"headers": self._values("1|2")} if self._maybe(40) else {}))
        return {"matches": matches, "backendRefs": self._backends()}

    def _backends(self) -> list[dict[str, Any]]:
        names = self._some((*SERVICES, "gone"), self._one((1, 1, 2, 3)))
        found = [{"name": name, "port": PORT, "weight": self._one((1, 1, 3, 0))} for name in names]
        return found if self._maybe(95) else []

    def _filters(self, *, by_prefix: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self._maybe(20):
            change = {"set": [{"name": "x-one", "value": "50%"}], "add": [{"name": "x-new", "value": "new"}], "remove": ["x-two"]}
            name = self._one(("RequestHeaderModifier", "ResponseHeaderModifier"))
            found.append({"type": name, name[0].lower() + name[1:]: change})
        if self._maybe(15):
            found.append({"type": "CORS", "cors": {"allowOrigins": ["https://a.example", "https://*.b.example"], "allowMethods": ["PUT"]}})
        if self._maybe(20):
            found.append({"type": "RequestRedirect", "requestRedirect": self._elsewhere(by_prefix=by_prefix, redirect=True)})
        elif self._maybe(25):
            found.append({"type": "URLRewrite", "urlRewrite": self._elsewhere(by_prefix=by_prefix, redirect=False)})
        return found

    def _elsewhere(self, *, by_prefix: bool, redirect: bool) -> dict[str, Any]:
        found: dict[str, Any] = {"hostname": "new.example"} if self._maybe(50) else {}
        if redirect:
            found |= {"scheme": self._one(("http", "https"))} if self._maybe(40) else {}
            found |= {"port": self._one((80, 443, 8443))} if self._maybe(30) else {}
            found |= {"statusCode": self._one((301, 303, 308))} if self._maybe(50) else {}
        if self._maybe(60):
            to = self._one(("/", "/new", "/new/", "/n/e/w"))
            kinds = ({"type": "ReplaceFullPath", "replaceFullPath": to}, {"type": "ReplacePrefixMatch", "replacePrefixMatch": to})
            found["path"] = self._one(kinds) if by_prefix else kinds[0]
        return found

    # Chance

    def _maybe(self, percent: int) -> bool:
        return self._random.random() * 100 < percent

    def _one(self, options: Any) -> Any:
        return self._random.choice(options)

    def _some(self, options: tuple[str, ...], most: int) -> list[str]:
        return self._random.sample(options, self._random.randint(1, most))
