"""`/api/v1`: the running mesh; and the endpoints by which the control plane itself is watched."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tulle import __version__
from tulle.model.identity import Labels
from tulle.model.proxy import Node, Role
from tulle.server.access.caller import caller_of
from tulle.server.forms import answer, object_of, problem
from tulle.server.ports import EndpointInfo, Live, ProxyInfo, ServiceInfo


class LiveApi:
    def __init__(self, live: Live) -> None:
        self._live = live

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/services", self.services, methods=["GET"]),
            Route("/api/v1/endpoints", self.all_endpoints, methods=["GET"]),
            Route("/api/v1/endpoints/{host}", self.endpoints, methods=["GET"]),
            Route("/api/v1/proxies", self.proxies, methods=["GET"]),
            Route("/api/v1/proxy-config", self.proxy_config, methods=["GET"]),
            Route("/api/v1/explain", self.explain, methods=["POST"]),
            Route("/api/v1/can", self.can, methods=["POST"]),
            Route("/api/v1/version", self.version, methods=["GET"]),
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def services(self, request: Request) -> Response:
        return answer({"services": [service_json(info) for info in self._seen(request)]})

    def _seen(self, request: Request) -> list[ServiceInfo]:
        caller = caller_of(request)
        return [info for info in self._live.services() if caller.sees(info.service.namespace)]

    async def endpoints(self, request: Request) -> Response:
        host = request.path_params["host"]
        found = self._live.endpoints(host, caller_of(request).namespaces)
        if found is None:
            raise problem(404, f"the mesh knows no service {host!r}; `tulle services` lists them")
        return answer({"endpoints": [endpoint_json(host, info) for info in found]})

    async def all_endpoints(self, request: Request) -> Response:
        namespaces = caller_of(request).namespaces
        hosts = [info.service.host for info in self._seen(request)]
        return answer({"endpoints": [endpoint_json(host, info) for host in hosts for info in self._live.endpoints(host, namespaces) or ()]})

    async def proxies(self, request: Request) -> Response:
        caller = caller_of(request)
        return answer({"proxies": [proxy_json(info) for info in self._live.proxies() if caller.sees(info.namespace)]})

    async def proxy_config(self, request: Request) -> Response:
        pairs = (part.partition("=") for part in request.query_params.get("labels", "").split(",") if part)
        labels = Labels({name: value for name, _, value in pairs})
        namespace = request.query_params.get("namespace", "default")
        caller_of(request).check((namespace,))
        said = self._live.proxy_start(namespace, labels)
        role = Role.GATEWAY if request.query_params.get("role") == Role.GATEWAY.value else Role.SIDECAR
        bootstrap = self._live.bootstrap_changes(Node(id="", role=role, namespace=namespace, labels=labels))
        return answer({"concurrency": said.concurrency, "environment": dict(said.environment), "bootstrap": bootstrap})

    async def explain(self, request: Request) -> Response:
        question = await object_of(request)
        try:
            return answer(self._live.explain(question))
        except LookupError as error:
            raise problem(404, str(error.args[0]) if error.args else "not found") from None
        except ValueError as error:
            raise problem(400, str(error)) from None

    async def can(self, request: Request) -> Response:
        question = await object_of(request)
        try:
            return answer(self._live.can(question))
        except ValueError as error:
            raise problem(400, str(error)) from None

    async def version(self, _: Request) -> Response:
        return answer({"tulle": __version__, "rootNamespace": self._live.root_namespace()})

    async def healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        why = self._live.ready()
        return PlainTextResponse(f"not ready: {why}\n", 503) if why else PlainTextResponse("ok\n")

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def service_json(info: ServiceInfo) -> dict[str, Any]:
    service = info.service
    return {
        "host": service.host,
        "name": service.name,
        "namespace": service.namespace,
        "ports": [{"number": port.number, "name": port.name, "protocol": port.protocol.value} for port in service.ports],
        "addresses": list(service.addresses),
        "resolution": service.resolution.value,
        "external": service.external,
        "labels": dict(service.labels),
        "endpoints": info.endpoints,
        "healthy": info.healthy,
        "source": str(service.source) if service.source else "registration",
        "origin": str(service.source.origin) if service.source else "",
    }


def endpoint_json(host: str, info: EndpointInfo) -> dict[str, Any]:
    endpoint = info.endpoint
    return {
        "host": host,
        "servicePort": info.service_port,
        "address": endpoint.address,
        "port": endpoint.port,
        "health": endpoint.health.value,
        "weight": endpoint.weight,
        "workload": endpoint.workload,
        "labels": dict(endpoint.labels),
        "locality": str(endpoint.locality),
        "serviceAccount": endpoint.service_account,
        "network": endpoint.network,
        "checks": [
            {
                "id": check.id,
                "name": check.name,
                "state": check.state.value,
                "since": check.since.isoformat(timespec="seconds") if check.since else "",
                "output": check.output,
            }
            for check in info.checks
        ],
        "ejected": [{"by": ejection.by, "reason": ejection.reason, "since": ejection.since} for ejection in info.ejected],
    }


def proxy_json(info: ProxyInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "role": info.role.value,
        "namespace": info.namespace,
        "ip": info.ip,
        "connectedSince": info.connected_since.isoformat(timespec="seconds"),
        "current": info.current,
        "acked": dict(info.acked),
        "error": info.error,
        "version": info.version,
        "httpProxy": info.http_proxy,
        "inbound": [{"servicePort": i.service_port, "listen": i.listen, "target": i.target} for i in info.inbound],
    }
