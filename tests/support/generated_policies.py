"""AuthorizationPolicies and calls, made by dice that share a few words, so that most calls are near to some rule."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from support.judges import HEADER as JUDGED
from support.judges import LET_IN
from support.tokens import Issuer
from tulle.compile.explain.request import Headers

PRINCIPALS = ("spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/till", "spiffe://far.example/ns/bank/sa/web", "")
HOSTS = (
    *("bank.example", "shop.example", "a.shop.example", "bank.example:8080", "BANK.example", "bank.example."),
    *("bank.example:", "x@bank.example", "bank.example,shop.example", "shop.example,bank.example:8080"),
)
PATHS = (
    *("/", "/admin", "/admin/keys", "/Admin", "/public/a", "/public/a/b", "/data.json"),
    *("/admin?x=1", "/a%2Fb", "/public//a", "/x/../admin", "//admin", "/%2Fadmin", "/admin;a=b/keys", "/ADMIN/", "/admin%2fkeys"),
    *(
        "/public/..%2fadmin",
        "/public/%2e%2e%5cadmin",
        "/x\\..\\admin",
        "/data.JSON;v=1",
        "/Public/a",
        "/public/a;x/b",
        "/;x/admin",
        "/x/..;/admin",
    ),
)
METHODS = ("GET", "POST", "DELETE", "OPTIONS")
ISSUER = Issuer()
TOKENS = (
    *("", "", "", "no token", Issuer("https://other.example").token()),
    ISSUER.token(sub="ann", groups=["staff", "shop"], aud="shop", realm={"role": "clerk"}),
    ISSUER.token(sub="bob", groups="staff", aud=["bank", "shop"], azp="app", scope="read write"),
    ISSUER.token(sub="eve", realm={"role": ["guest", "clerk"]}, aud="bank"),
    ISSUER.token(sub="ann"),
)
ADDRESSES = ("10.1.2.3", "10.9.9.9", "192.0.2.7", "2001:db8::1", "not-an-address")
HEADER_VALUES = ("gold", "golden", "silver", "")
_PATTERNS = {
    "principals": ("cluster.local/ns/shop/sa/web", "cluster.local/ns/*", "*/sa/web", "*", "far.example/ns/bank/sa/web"),
    "namespaces": ("shop", "ba*", "*op", "bank"),
    "serviceAccounts": ("web", "shop/web", "bank/web"),
    "trustDomains": ("cluster.local", "far*"),
    "ipBlocks": ("127.0.0.1", "10.0.0.0/8"),
    "requestPrincipals": (f"{ISSUER.name}/ann", f"{ISSUER.name}/*", "*/bob", "*", "https://other.example/*"),
    "remoteIpBlocks": ("10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "127.0.0.0/8"),
    "hosts": ("bank.example", "*.example", "shop*", "*", "bank.example:8080", "a.shop.example"),
    "methods": ("GET", "P*", "*ETE", "*"),
    "paths": ("/admin", "/admin/*", "*.json", "/public/{*}", "/public/{**}", "*", "/data.json"),
    "ports": ("8443", "8444"),
}
_SOURCES = ("principals", "namespaces", "trustDomains", "ipBlocks", "remoteIpBlocks", "requestPrincipals")
_OPERATIONS = ("hosts", "methods", "paths", "ports")
_WHEN = {
    "request.headers[x-plan]": ("gold", "gold*", "*er", "*"),
    "source.namespace": ("shop", "b*"),
    "source.principal": ("cluster.local/ns/shop/sa/till", "*"),
    "remote.ip": ("10.0.0.0/8", "192.0.2.0/24"),
    "source.ip": ("127.0.0.1",),
    "connection.sni": ("edge.example", "other*"),
    "destination.port": ("8443",),
    "destination.ip": ("127.0.0.0/8", "10.0.0.1"),
    "request.auth.claims[groups]": ("staff", "sh*", "*"),
    "request.auth.claims[realm][role]": ("clerk", "gue*"),
    "request.auth.claims[scope]": ("write", "read write"),
    "request.auth.audiences": ("shop", "ba*"),
    "request.auth.presenter": ("app",),
    "request.auth.principal": (f"{ISSUER.name}/bob", "*"),
}


@dataclass(frozen=True, slots=True)
class Call:
    """`principal` empty: no certificate is shown."""

    method: str
    path: str
    host: str
    principal: str
    headers: Headers


class Policies:
    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.providers: tuple[str, ...] = ("nobody", "judge", "judge")

    def some(self, gateway: str) -> list[dict[str, Any]]:
        """Policies for a Gateway: most of the time a few of several kinds."""
        return [self._policy(f"{gateway}-{n}", gateway) for n in range(self._dice.randint(0, 4))]

    def authentication(self, gateway: str) -> list[dict[str, Any]]:
        """Half of the Gateways look at tokens."""
        if self._dice.random() < 0.5:
            return []
        audiences = {"audiences": ["shop"]} if self._dice.random() < 0.3 else {}
        rule = {"issuer": ISSUER.name, "jwks": ISSUER.key_set, **audiences}
        return [
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "RequestAuthentication",
                "metadata": {"name": gateway},
                "spec": {"targetRefs": [{"kind": "Gateway", "name": gateway}], "jwtRules": [rule]},
            }
        ]

    def call(self) -> Call:
        pick = self._dice.choice
        headers: list[tuple[str, str]] = []
        if token := pick(TOKENS):
            headers.append(("authorization", f"Bearer {token}"))
        if self._dice.random() < 0.5:
            headers.append((JUDGED, pick((LET_IN, "deny"))))
        if self._dice.random() < 0.2:
            headers.append((pick(("x_plan", "X-Plan", "x-Plan")), pick(HEADER_VALUES)))
        if self._dice.random() < 0.5:
            headers.append(("x-plan", pick(HEADER_VALUES)))
            if self._dice.random() < 0.2:
                headers.append(("x-plan", pick(HEADER_VALUES)))
        if self._dice.random() < 0.5:
            headers.append(("x-forwarded-for", ", ".join(self._dice.sample(ADDRESSES, self._dice.randint(1, 2)))))
        return Call(pick(METHODS), pick(PATHS), pick(HOSTS), pick(PRINCIPALS), tuple(headers))

    def _policy(self, name: str, gateway: str) -> dict[str, Any]:
        action = self._dice.choice(("ALLOW", "DENY", "ALLOW", "AUDIT", "CUSTOM"))
        rules = [self._rule() for _ in range(self._dice.randint(0 if action in ("ALLOW", "AUDIT") else 1, 3))]
        spec: dict[str, Any] = {"action": action, "rules": rules, "targetRefs": [{"kind": "Gateway", "name": gateway}]}
        if action == "CUSTOM":
            spec["provider"] = {"name": self._dice.choice(self.providers)}
        annotations = {"istio.io/dry-run": "true"} if self._dice.random() < 0.15 and action != "CUSTOM" else {}
        return {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "annotations": annotations},
            "spec": spec,
        }

    def _rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        if self._dice.random() < 0.6:
            rule["from"] = [{"source": self._fields((*_SOURCES,))} for _ in range(self._dice.randint(1, 2))]
        if self._dice.random() < 0.6:
            rule["to"] = [{"operation": self._fields(_OPERATIONS)} for _ in range(self._dice.randint(1, 2))]
        if self._dice.random() < 0.4:
            rule["when"] = [self._condition() for _ in range(self._dice.randint(1, 2))]
        return rule

    def _fields(self, names: tuple[str, ...]) -> dict[str, Any]:
        if names == _SOURCES and self._dice.random() < 0.15:
            return {"serviceAccounts": self._values(_PATTERNS["serviceAccounts"])}
        chosen = self._dice.sample(names, self._dice.choice((1, 1, 2)))
        return {self._negated(name): self._values(_PATTERNS[name]) for name in chosen}

    def _negated(self, name: str) -> str:
        return f"not{name[0].upper()}{name[1:]}" if self._dice.random() < 0.25 else name

    def _condition(self) -> dict[str, Any]:
        key = self._dice.choice(tuple(_WHEN))
        field = self._dice.choice(("values", "values", "notValues"))
        return {"key": key, field: self._values(_WHEN[key])}

    def _values(self, among: tuple[str, ...]) -> list[str]:
        return self._dice.sample(among, min(len(among), self._dice.choice((1, 1, 2))))
