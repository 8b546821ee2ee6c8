"""One gateway with several ports, each before the same service under rules of its own: what a caller gets through each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.carried import at, carried
from support.compiled import built, gateway
from support.lone_envoy import LoneEnvoy
from support.running import free_port
from support.wire import Wiretap, told, wiretap
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.model.proxy import ProxyView

_DOOR = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, annotations: {{proxy.istio.io/config: 'gatewayTopology: {{numTrustedProxies: {hops}}}'}}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: {name}, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
"""
_BEHIND = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec: {{hosts: ["*"], gateways: [{names}], http: [{{route: [{{destination: {{host: far}}}}]}}]}}
---
"""


def rule(name: str, spec: str) -> str:
    """An AuthorizationPolicy for one door."""
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}-rule}}
spec: {{targetRefs: [{{kind: Gateway, name: {name}}}], {spec}}}
---
"""


@dataclass(frozen=True, slots=True)
class Doors:
    """`ports` by the name of the door. `behind` is the service."""

    ports: Mapping[str, int]
    behind: Wiretap
    envoy: LoneEnvoy
    seen: ProxyView

    def send(self, door: str, target: str, *headers: str, method: str = "GET", host: str = "shop.example") -> int:
        """The status of a request whose target and headers go over the wire as they stand."""
        lines = [f"{method} {target} HTTP/1.1", f"host: {host}", *headers, "", ""]
        return told(self.ports[door], "\r\n".join(lines).encode("latin-1"))

    def explained(self, door: str, target: str, *headers: tuple[str, str], method: str = "GET", host: str = "shop.example") -> int:
        """The status as it is foretold; 200 where the request is sent on."""
        url = f"http://shop.example:{self.ports[door]}{target}"
        trace = explain_view(self.seen, gateway(), Request(method=method, url=url, headers=(("host", host), *headers)))
        return trace.direct_response.status if trace.direct_response else 200


@contextmanager
def doors(folder: Path, names: Sequence[str], text: str, *, hops: int = 0) -> Iterator[Doors]:
    ports = {name: free_port() for name in names}
    edges = "".join(_DOOR.format(name=name, port=port, hops=hops) for name, port in ports.items())
    documents = edges + _BEHIND.format(names=", ".join(names)) + text
    with wiretap() as behind:
        instance = at("far", 80, behind.port, id="far")
        with carried(documents, gateway(), folder, instance) as envoy:
            yield Doors(ports, behind, envoy, view(built(documents, instance).mesh, gateway()))
