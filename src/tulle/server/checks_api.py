"""`/api/v1/checks`: what is checked, and what came of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.model.service import Health
from tulle.registry import durations
from tulle.registry.catalog import Check
from tulle.registry.registry import Registry
from tulle.server.forms import answer, problem

STATES = ("any", *(health.value for health in Health))


class ChecksApi:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[Route]:
        return [Route("/api/v1/checks", self.all, methods=["GET"])]

    async def all(self, request: Request) -> Response:
        asked = request.query_params
        service, node, state = asked.get("service", ""), asked.get("node", ""), asked.get("state", "any")
        if state not in STATES:
            raise problem(400, f"state: {state!r} is not one of {', '.join(STATES)}")
        checks = self._registry.tables.checks
        found = (checks[key].value for key in sorted(checks))
        wanted = (c for c in found if service in ("", c.service_name, c.service_id) and node in ("", c.node))
        return answer({"checks": [self._shown(check) for check in wanted if state in ("any", check.status.value)]})

    def _shown(self, check: Check) -> dict[str, Any]:
        since = self._registry.since.get(check.key)
        return {
            "node": check.node,
            "id": check.id,
            "name": check.name,
            "service": check.service_name,
            "serviceId": check.service_id,
            "state": check.status.value,
            "since": datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds") if since else "",
            "output": self._registry.output(check),
            "notes": check.notes,
            "type": check.type,
            "interval": durations.show(check.probe.interval) if check.probe.interval else "",
        }
