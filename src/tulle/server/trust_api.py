"""`/api/v1/certificates`, `/api/v1/ca` and `/api/v1/mtls`: identities, the authority behind them, and who speaks mutual TLS."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.compile.edges import Edge
from tulle.server.access.caller import caller_of
from tulle.server.forms import answer, problem
from tulle.server.trust import STEPS, Served, TooEarlyError, Trust

if TYPE_CHECKING:
    from tulle.ca.authority import Root


class TrustApi:
    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/certificates", self.certificates, methods=["GET"]),
            Route("/api/v1/ca", self.authority, methods=["GET"]),
            Route("/api/v1/ca/rotation", self.rotate, methods=["POST"]),
            Route("/api/v1/mtls", self.edges, methods=["GET"]),
        ]

    async def certificates(self, request: Request) -> Response:
        caller = caller_of(request)
        return answer({"certificates": [_certificate(served) for served in self._trust.certificates() if caller.sees(served.namespace)]})

    async def authority(self, _: Request) -> Response:
        return answer(self._state())

    async def rotate(self, request: Request) -> Response:
        from tulle.ca.files import AuthorityError  # noqa: PLC0415 - slow to load

        try:
            said = json.loads(await request.body())
        except ValueError:
            said = None
        step, force = (said.get("step"), said.get("force", False)) if isinstance(said, dict) else (None, False)
        if step not in STEPS or not isinstance(force, bool):
            raise problem(400, f'the body must be {{"step": one of {", ".join(STEPS)}, "force": true or false}}')
        try:
            self._trust.rotate(step, force=force)
        except (AuthorityError, TooEarlyError) as error:
            raise problem(409, str(error)) from None
        return answer(self._state())

    async def edges(self, _: Request) -> Response:
        callers = [{"proxy": proxy, **asdict(counted)} for proxy, counted in self._trust.callers()]
        return answer({"edges": [_edge(edge) for edge in self._trust.edges()], "callers": callers})

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


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
