"""`/api/v1/certificates`, `/api/v1/ca` and `/api/v1/mtls`: identities, the authority behind them, and who speaks mutual TLS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.compile.edges import Edge
from tulle.compile.migration import APP, PlainCaller, Step
from tulle.server.access.caller import caller_of
from tulle.server.forms import answer, object_of, problem, seconds
from tulle.server.migrating import Migration
from tulle.server.trust import STEPS, Served, TooEarlyError, Trust

if TYPE_CHECKING:
    from tulle.ca.authority import Root


_LONGEST_QUIET = 365 * 86400.0


class TrustApi:
    def __init__(self, trust: Trust, migration: Migration) -> None:
        self._trust, self._migration = trust, migration

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/certificates", self.certificates, methods=["GET"]),
            Route("/api/v1/ca", self.authority, methods=["GET"]),
            Route("/api/v1/ca/rotation", self.rotate, methods=["POST"]),
            Route("/api/v1/mtls", self.edges, methods=["GET"]),
            Route("/api/v1/mtls/workloads", self.workloads, methods=["GET"]),
            Route("/api/v1/mtls/workloads/{namespace}/{name}", self.counts, methods=["GET"]),
        ]

    async def certificates(self, request: Request) -> Response:
        caller = caller_of(request)
        found = [_certificate(served) for served in self._trust.certificates() if caller.sees(served.namespace)]
        return answer({"certificates": found, "authority": {"notAfter": _time(self._trust.authority.ends)}})

    async def authority(self, _: Request) -> Response:
        return answer(self._state())

    async def rotate(self, request: Request) -> Response:
        from tulle.ca.files import AuthorityError  # noqa: PLC0415 - slow to load

        said = await object_of(request)
        step, force = said.get("step"), said.get("force", False)
        if step not in STEPS or not isinstance(force, bool):
            raise problem(400, f'the body must be {{"step": one of {", ".join(STEPS)}, "force": true or false}}')
        try:
            self._trust.rotate(step, force=force)
        except (AuthorityError, TooEarlyError) as error:
            raise problem(409, str(error)) from None
        return answer(self._state())

    async def edges(self, _: Request) -> Response:
        callers = [{"proxy": proxy, **asdict(counted)} for proxy, counted in self._trust.callers()]
        plain = [_plain(node.id, caller) for node, caller in self._migration.plain()]
        return answer({"edges": [_edge(edge) for edge in self._trust.edges()], "callers": callers, "plain": plain})

    async def workloads(self, request: Request) -> Response:
        """What keeps each group of workloads from mutual TLS alone. `?quiet=1h`: for so long nobody may have called in plain text."""
        quiet = timedelta(seconds=seconds(request.query_params.get("quiet", "1h"), "quiet", most=_LONGEST_QUIET))
        sees = caller_of(request).sees
        return answer({"workloads": [_step(step) for step in self._migration.steps(quiet) if sees(step.group.namespace)]})

    async def counts(self, request: Request) -> Response:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        caller_of(request).check((namespace,))
        found = self._migration.counts(namespace, name)
        if found is None:
            raise problem(404, f"no connected sidecar in namespace {namespace!r} has the label {APP}: {name}")
        return answer({"counts": asdict(found), "refused": self._migration.refused(namespace, name), "every": self._trust.every})

    def _state(self) -> dict[str, Any]:
        of = self._trust.authority
        return {
            "trustDomain": of.trust_domain,
            "stage": of.stage.value,
            "given": of.is_given,
            "certificateLifeSeconds": of.lifetime.total_seconds(),
            "roots": _roots(of.roots()),
            "bundle": of.bundle().decode(),
            "behind": list(self._trust.behind()),
        }


def _roots(roots: Iterable[Root]) -> list[dict[str, Any]]:
    return [
        {
            "name": root.name,
            "sha256": root.fingerprint,
            "notBefore": _time(root.not_before),
            "notAfter": _time(root.not_after),
            "active": root.active,
        }
        for root in roots
    ]


def _certificate(of: Served) -> dict[str, Any]:
    return {
        "proxy": of.proxy,
        "name": of.name,
        "names": list(of.names),
        "serial": f"{of.serial:x}",
        "notBefore": _time(of.not_before),
        "notAfter": _time(of.not_after),
        "latest": of.latest,
        "shown": of.shown,
    }


def _edge(of: Edge) -> dict[str, Any]:
    return {
        "caller": of.caller,
        "namespace": of.namespace,
        "host": of.host,
        "port": of.port,
        "speaks": of.speech.value,
        "instances": of.instances,
        "mutual": of.mutual,
        "modes": list(of.modes),
        "fails": of.fails,
        "sources": [{"rule": str(source), "origin": str(source.origin)} for source in of.sources],
    }


def _plain(proxy: str, of: PlainCaller) -> dict[str, Any]:
    return {
        "proxy": proxy,
        "port": of.port,
        "caller": of.whom.name,
        "workloads": list(of.whom.workloads),
        "machine": of.whom.machine,
        "address": of.whom.address,
        "calls": of.calls,
        "refused": of.refused,
        "last": _time(of.last),
    }


def _step(of: Step) -> dict[str, Any]:
    group = of.group
    return {
        "namespace": group.namespace,
        "name": group.name,
        "document": group.document,
        "services": list(group.hosts),
        "proxies": list(group.proxies),
        "ports": [{"port": port, "mode": ruled.mode.value} for port, ruled in group.ports.items()],
        "connections": group.connections,
        "plain": group.heard.connections,
        "callers": [str(caller) for caller in dict.fromkeys(caller.whom for caller in group.heard.callers)],
        "way": of.way.value,
        "why": of.why,
    }


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
