"""What documents say of how a proxy is started. Asked once, before the proxy is; nobody waits long for a control plane that is away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from tulle.agent.bootstrap import Change, bootstrap, changed
from tulle.agent.envoy import Options, cores
from tulle.agent.spec import AgentSettings
from tulle.agent.validation import refusal
from tulle.credentials import NOBODY, Credentials
from tulle.discovery.node import to_metadata
from tulle.http_client import request
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import Node

PATIENCE = 2.0
"""Seconds."""
_SOMEWHERE = "/nowhere/admin.sock"
"""Envoy does not open it while it only looks at a configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    concurrency: int | None = None
    environment: FrozenMap[str, str] = field(default_factory=FrozenMap)
    changes: tuple[Change, ...] = ()


async def said_of(node: Node, api: str, credentials: Credentials = NOBODY) -> Said:
    """What the control plane knows; nothing where it does not answer."""
    labels = ",".join(f"{k}={v}" for k, v in sorted(node.labels.items()))
    query = urlencode({"namespace": node.namespace, "labels": labels, "role": node.role.value})
    try:
        answer = await request(api, "GET", f"/api/v1/proxy-config?{query}", timeout=PATIENCE, credentials=credentials)
        return _read(answer.json()) if answer.status == 200 else Said()
    except (OSError, ValueError, KeyError):
        return Said()


def _read(body: Any) -> Said:
    concurrency, environment = body.get("concurrency"), body.get("environment") or {}
    return Said(
        concurrency=concurrency if isinstance(concurrency, int) else None,
        environment=FrozenMap({str(name): str(value) for name, value in environment.items()}),
        changes=tuple(Change(value=one["value"], replace_lists=one["replace_lists"]) for one in body.get("bootstrap") or ()),
    )


async def started_as_said(options: Options, node: Node, settings: AgentSettings) -> Options:
    """The options of a proxy, where nothing else was said to whoever starts it."""
    said = await said_of(node, settings.api, settings.credentials)
    concurrency = options.concurrency if settings.concurrency or said.concurrency is None else said.concurrency or cores()
    changes = await _bearable(said.changes, options, node, settings)
    return replace(options, concurrency=concurrency, environment=said.environment, changes=changes)


async def _bearable(changes: tuple[Change, ...], options: Options, node: Node, settings: AgentSettings) -> tuple[Change, ...]:
    """The changes, where Envoy starts with them: a document that is wrong must not keep a proxy down."""
    if not changes:
        return ()
    plain = bootstrap(node, to_metadata(node), replace(options.boot, admin=_SOMEWHERE))
    try:
        refused = await refusal(changed(plain, changes))
    except (RuntimeError, TimeoutError) as error:
        refused = str(error) or "Envoy gave no answer"
    if refused:
        settings.sink(node.service or node.id, f"[tulle] proxy starts without what EnvoyFilters change of its bootstrap: {refused}")
    return () if refused else changes
