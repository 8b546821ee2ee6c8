"""What documents say of how a proxy is started. Asked once, before the proxy is; nobody waits long for a control plane that is away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from tulle.agent.envoy import Options, cores
from tulle.agent.spec import AgentSettings
from tulle.http_client import request
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import Node

PATIENCE = 2.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    concurrency: int | None = None
    environment: FrozenMap[str, str] = field(default_factory=FrozenMap)


async def said_of(node: Node, api: str) -> Said:
    """What the control plane knows; nothing where it does not answer."""
    query = urlencode({"namespace": node.namespace, "labels": ",".join(f"{k}={v}" for k, v in sorted(node.labels.items()))})
    try:
        answer = await request(api, "GET", f"/api/v1/proxy-config?{query}", timeout=PATIENCE)
        return _read(answer.json()) if answer.status == 200 else Said()
    except (OSError, ValueError):
        return Said()


def _read(body: Any) -> Said:
    concurrency, environment = body.get("concurrency"), body.get("environment") or {}
    return Said(
        concurrency=concurrency if isinstance(concurrency, int) else None,
        environment=FrozenMap({str(name): str(value) for name, value in environment.items()}),
    )


async def started_as_said(options: Options, node: Node, settings: AgentSettings) -> Options:
    """The options of a proxy, where nothing else was said to whoever starts it."""
    said = await said_of(node, settings.api)
    concurrency = options.concurrency if settings.concurrency or said.concurrency is None else said.concurrency or cores()
    return replace(options, concurrency=concurrency, environment=said.environment)
