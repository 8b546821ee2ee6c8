"""Gateways by chance, Istio's and the Gateway API's, with TLS, TCP and HTTP on shared and separate ports; and callers of them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

HOSTS = ("a.test", "b.test", "*.test", "x.a.test", "*.a.test", "other.example", "*.example", "*")
ASKED = ("a.test", "A.test", "b.test", "c.test", "x.a.test", "y.a.test", "q.r.a.test", "other.example", "nobody.invalid", "test", "")
CERTIFICATES = ("one", "two")
HTTP, BYTES, SECURE = ("h0", "h1"), ("t0", "t1"), ("s0", "s1")
"""Services that speak HTTP, that say their name as soon as they are called, and that do so over TLS."""
API = "gateway.networking.k8s.io/v1"
KINDS = ("tls", "tls", "tls", "tcp", "http")
"""Of ports, in turn."""
OFFERED = (("http/1.1",), ("h2", "http/1.1"), ("other",), ("other", "http/1.1"))


@dataclass(frozen=True)
class Call:
    url: str
    port: int
    sni: str
    alpn: tuple[str, ...]
    host: str

    @property
    def tls(self) -> bool:
        return self.url.startswith(("https:", "tls:"))

    @property
    def http(self) -> bool:
        return self.url.startswith("http")


class Edges:
    """Everything follows from the seed, but the numbers of the ports, which are given."""

    def __init__(self, seed: int, ports: list[int]) -> None:
        self._random = Random(seed)
        self._quic = Random(seed)
        self._ports = ports
        self._count = 0

    def documents(self) -> str:
        return "".join(self._port(port, KINDS[n % len(KINDS)]) for n, port in enumerate(self._ports))

    def _port(self, port: int, kind: str) -> str:
        if kind == "tcp":
            return self._edge(port, "TCP", "*", "", "tcp", self._shares(BYTES))
        if kind == "http":
            redirect = ", tls: {httpsRedirect: true}" if self._random.random() < 0.5 else ""
            return self._edge(port, "HTTP", self._random.choice(HOSTS), redirect, "http", self._web())
        return "".join(self._secure(port, host) for host in self._random.sample(HOSTS, self._random.randint(2, 5)))

    def _secure(self, port: int, host: str) -> str:
        ended = f", tls: {{mode: SIMPLE, credentialName: {self._random.choice(CERTIFICATES)}}}"
        kind = self._random.choice(("https", "https", "tls", "pass"))
        if kind == "https":
            return self._edge(port, "HTTPS", host, ended, "http", self._web(), http3=self._quic.random() < 0.8)
        if kind == "tls":
            return self._edge(port, "TLS", host, ended, "tcp", self._shares(BYTES))
        match = f'match: [{{port: {port}, sniHosts: ["{host}"]}}], '
        return self._edge(port, "TLS", host, ", tls: {mode: PASSTHROUGH}", "tls", match + self._one(SECURE))

    def _web(self) -> str:
        return "redirect: {uri: /moved}" if self._random.random() < 0.2 else self._one(HTTP)

    def _one(self, services: tuple[str, ...]) -> str:
        return f"route: [{{destination: {{host: {self._random.choice(services)}}}}}]"

    def _shares(self, services: tuple[str, ...]) -> str:
        if self._random.random() < 0.5:
            return self._one(services)
        weights = self._random.choice(((1, 1), (100, 0), (0, 100)))
        shares = (f"{{destination: {{host: {name}}}, weight: {weight}}}" for name, weight in zip(services, weights, strict=True))
        return f"route: [{', '.join(shares)}]"

    def _edge(self, port: int, protocol: str, host: str, tls: str, kind: str, rule: str, *, http3: bool = False) -> str:
        self._count += 1
        name = f"edge-{self._count}"
        annotations = ', annotations: {tulle.dev/http3: "true"}' if http3 else ""
        return f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}{annotations}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: {name}, protocol: {protocol}}}, bind: 127.0.0.1, hosts: ["{host}"]{tls}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: ["{host}"], gateways: [{name}], {kind}: [{{{rule}}}]}}
"""

    def call(self) -> Call:
        number, sni = self._random.randrange(len(self._ports)), self._random.choice(ASKED)
        port, kind = self._ports[number], KINDS[number % len(KINDS)]
        fitting = self._random.random() < 0.8
        plain = fitting != (kind == "tls")
        scheme = self._random.choice(("tcp", "http") if plain else ("https", "https", "tls"))
        host = sni if self._random.random() < 0.7 else self._random.choice(ASKED)
        host = host or "127.0.0.1"
        if scheme not in ("https", "tls"):
            sni = ""
        elif not sni:
            host = "127.0.0.1"
        alpn = self._random.choice(OFFERED) if scheme == "https" else ("other",) if scheme == "tls" and self._random.random() < 0.5 else ()
        if scheme == "https" and self._quic.random() < 0.25:
            alpn = ("h3",)
        return Call(url=f"{scheme}://{host}:{port}", port=port, sni=sni, alpn=alpn, host=f"{host}:{port}")


class Listeners(Edges):
    """The same in the words of the Gateway API: a Gateway for each port, with a route for each of its listeners."""

    def _port(self, port: int, kind: str) -> str:
        if kind == "tcp":
            return self._gateway(port, self._listener("TCP", "*", "", "TCPRoute", self._weighed(BYTES)))
        if kind == "http":
            return self._gateway(port, self._listener("HTTP", self._random.choice(HOSTS), "", "HTTPRoute", self._pages()))
        hosts = self._random.sample(HOSTS, self._random.randint(2, 5))
        return self._gateway(port, *(self._over_tls(host) for host in hosts), http3=self._quic.random() < 0.5)

    def _over_tls(self, host: str) -> tuple[str, str]:
        certificate = f"certificateRefs: [{{name: {self._random.choice(CERTIFICATES)}}}]"
        kind = self._random.choice(("https", "https", "tls", "pass"))
        if kind == "https":
            return self._listener("HTTPS", host, certificate, "HTTPRoute", self._pages())
        if kind == "tls":
            route = self._random.choice(("TLSRoute", "TCPRoute"))
            return self._listener("TLS", host, f"mode: Terminate, {certificate}", route, self._weighed(BYTES))
        return self._listener("TLS", host, "mode: Passthrough", "TLSRoute", self._weighed(SECURE[:1]))

    def _listener(self, protocol: str, host: str, tls: str, kind: str, rule: str) -> tuple[str, str]:
        """A listener, without its port, and the route for it."""
        self._count += 1
        name = f"l{self._count}"
        hostname = f', hostname: "{host}"' if host != "*" else ""
        wanted = self._random.sample(HOSTS[:-1], 3) if kind == "TLSRoute" or (kind == "HTTPRoute" and self._random.random() < 0.3) else []
        hostnames = f"hostnames: {[*wanted, *([host] if hostname else [])]}," if wanted else ""
        spec = f"{{parentRefs: [{{name: PARENT, sectionName: {name}}}], {hostnames} rules: [{{{rule}}}]}}"
        route = f"---\napiVersion: {API}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        return f"{{name: {name}, protocol: {protocol}{hostname}{f', tls: {{{tls}}}' if tls else ''}, port: PORT}}", route

    def _gateway(self, port: int, *parts: tuple[str, str], http3: bool = False) -> str:
        name = f"edge-{port}"
        annotations = ', annotations: {tulle.dev/http3: "true"}' if http3 else ""
        listeners = ", ".join(listener.replace("PORT", str(port)) for listener, _ in parts)
        spec = f"{{gatewayClassName: tulle, addresses: [{{value: 127.0.0.1}}], listeners: [{listeners}]}}"
        head = f"---\napiVersion: {API}\nkind: Gateway\nmetadata: {{name: {name}{annotations}}}\nspec: {spec}\n"
        return head + "".join(route.replace("PARENT", name) for _, route in parts)

    def _pages(self) -> str:
        if self._random.random() < 0.4:
            to = "{statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /moved}}"
            return f"filters: [{{type: RequestRedirect, requestRedirect: {to}}}]"
        return self._weighed(HTTP)

    def _weighed(self, services: tuple[str, ...]) -> str:
        weights = self._random.choice(((1, 1), (1, 0), (0, 1)))
        shares = (f"{{name: {name}, port: 80, weight: {weight}}}" for name, weight in zip(services, weights, strict=False))
        return f"backendRefs: [{', '.join(shares)}]"
