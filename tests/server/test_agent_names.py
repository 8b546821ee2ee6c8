"""Whose the name of an agent is."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tulle.registry.agents import Report
from tulle.server.access.caller import STATE, Caller, Role
from tulle.server.agents_api import AgentsApi


def test_it_is_his_who_said_it_first_until_his_agent_is_given_up() -> None:
    known: dict[str, Report] = {}

    async def heard(report: Report) -> None:
        known[report.id] = report

    agents: Any = SimpleNamespace(known=known, heard=heard, every=1.0)
    registry: Any = None
    api = AgentsApi(agents, registry)

    async def put(account: str) -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"{}"}

        caller = Caller(id="1", role=Role.WORKLOAD, namespaces=("shop",), service_account=account)
        scope = {"type": "http", "method": "PUT", "headers": [], "path_params": {"id": "a"}, "state": {STATE: caller}}
        await api.put(Request(scope, receive))

    asyncio.run(put("web"))
    with pytest.raises(HTTPException, match="another"):
        asyncio.run(put("cart"))
    known.clear()
    asyncio.run(put("cart"))
    with pytest.raises(HTTPException, match="another"):
        asyncio.run(put("web"))
