"""The policies of a route as an explanation names them. Durations are written as `1.5s`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tulle.compile.explain.rewrite import join
from tulle.model.proxy import Cluster, TcpConnections
from tulle.model.routing import Cors, Fault, Forward, HeaderOps, RetryPolicy, Route
from tulle.model.traffic import HashPolicy


def seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.9g}s"


def of_route(route: Route) -> dict[str, Any]:
    """What a route does beside choosing where the request goes. What is not set is absent."""
    forward = _forward(route.action) if isinstance(route.action, Forward) else {}
    return _present(
        **forward,
        fault=_fault(route.fault) if route.fault else None,
        cors=_cors(route.cors) if route.cors and isinstance(route.action, Forward) else None,
        session=f"{'header' if route.session.header else 'cookie'} {route.session.name}" if route.session else None,
        response_headers=operations(_response_headers(route)),
    )


def _response_headers(route: Route) -> HeaderOps:
    """A single destination's operations follow the route's; several destinations have each their own."""
    if isinstance(route.action, Forward) and len(route.action.clusters) == 1:
        return join(route.response_headers, route.action.clusters[0].response_headers)
    return route.response_headers


def of_cluster(cluster: Cluster) -> dict[str, Any]:
    """How the endpoints of the chosen cluster are picked and judged."""
    balancer, outlier = cluster.policy.load_balancer, cluster.policy.outlier_detection
    ejection = outlier and _present(
        consecutive_5xx=outlier.consecutive_5xx, interval=seconds(outlier.interval), base_ejection_time=seconds(outlier.base_ejection_time)
    )
    secure = cluster.tls and (_present(sni=cluster.tls.sni, certificate=cluster.tls.certificate) or "the host of the request is asked for")
    mutual = cluster.mesh_tls and cluster.mesh_tls.trust and {"to_instances_with_sidecar": list(cluster.mesh_tls.trust.names)}
    return _present(load_balancer=balancer.algorithm.value, outlier_detection=ejection, upstream_tls=secure, mutual_tls=mutual)


def of_connections(serve: TcpConnections) -> dict[str, Any]:
    """What is done with connections beside choosing where they go."""
    tunnel = serve.tunnel
    return _present(
        idle_timeout=seconds(serve.idle_timeout) if serve.idle_timeout is not None else None,
        hash=[_hash(serve.hash_policy)] if serve.hash_policy else None,
        tunnel=f"{'POST' if tunnel.post else 'CONNECT'} {tunnel.host}:{tunnel.port}" if tunnel else None,
    )


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, (), [], {}, "")}


def _forward(action: Forward) -> dict[str, Any]:
    return _present(
        timeout=seconds(action.timeout) if action.timeout else None,
        retries=_retries(action.retry) if action.retry else None,
        mirror=[{"cluster": m.cluster, "percent": m.percent} for m in action.mirrors],
        hash=[_hash(policy) for policy in action.hash_policies],
    )


def _retries(retry: RetryPolicy) -> dict[str, Any]:
    return _present(
        attempts=retry.attempts,
        retry_on=list(retry.retry_on),
        retriable_status_codes=list(retry.retriable_status_codes),
        per_try_timeout=seconds(retry.per_try_timeout) if retry.per_try_timeout else None,
        backoff=seconds(retry.backoff) if retry.backoff else None,
    )


def _hash(policy: HashPolicy) -> dict[str, Any]:
    return _present(on=policy.on.value, name=policy.name or None)


def _fault(fault: Fault) -> dict[str, Any]:
    delay, abort = fault.delay, fault.abort
    return _present(
        delay=delay and {"duration": seconds(delay.duration), "percent": delay.percent},
        abort=abort and _present(percent=abort.percent, http_status=abort.http_status, grpc_status=abort.grpc_status),
    )


def _cors(cors: Cors) -> dict[str, Any]:
    return _present(
        allow_origins=[str(origin) for origin in cors.allow_origins],
        allow_methods=list(cors.allow_methods),
        allow_headers=list(cors.allow_headers),
        expose_headers=list(cors.expose_headers),
        max_age=seconds(cors.max_age) if cors.max_age is not None else None,
        allow_credentials=cors.allow_credentials,
        forward_unmatched_preflights=cors.forward_unmatched_preflights,
    )


def operations(ops: HeaderOps) -> dict[str, Any]:
    return _present(remove=list(ops.remove), set=dict(ops.set), add=[list(pair) for pair in ops.add])
