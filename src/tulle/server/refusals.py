"""What to do when a proxy refuses a configuration: find the documents that cause it, and put their last good version in their place.

The search tries suspects against Envoy itself, in its validation mode, never on a proxy that carries traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tulle.compile import Built, build, view
from tulle.discovery.blame import suspects
from tulle.discovery.events import Rejected
from tulle.logs import Log
from tulle.model.mesh import Inputs
from tulle.model.proxy import Node
from tulle.model.resource import Key, Origin, Resource
from tulle.server.culprits import culprits
from tulle.translate.static import static_config
from tulle.translate.translator import Translator

PENDING = 64
"""Refusals that wait to be looked into; more are dropped, as a proxy that still cannot take a configuration says so again."""
PATCHES = "EnvoyFilter"
"""The kind of documents that change what others ask for."""
_log = Log("control")
Documents = Mapping[Key, Resource[Any]]
Validate = Callable[[Mapping[str, Any]], Awaitable[str | None]]
"""Has the data plane look at a static configuration: its error text, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A proxy's refusal, with what was in force when it came."""

    node: Node
    rejected: Rejected
    taken: int
    """The store's revision up to which this proxy had acknowledged everything of that kind."""


class Refusals:
    """Those that wait to be looked into, one after the other."""

    def __init__(self, look_into: Callable[[Refusal], Awaitable[None]]) -> None:
        self._look_into = look_into
        self._waiting: asyncio.Queue[Refusal] = asyncio.Queue(PENDING)

    def put(self, refusal: Refusal) -> None:
        try:
            self._waiting.put_nowait(refusal)
        except asyncio.QueueFull:
            _log.warning("too many refusals at once: this one is not looked into", proxy=refusal.node.id)

    async def run(self) -> None:
        while True:
            refusal = await self._waiting.get()
            try:
                await self._look_into(refusal)
            except Exception:  # noqa: BLE001 - the pump: the next refusal may be clearer
                _log.exception("a refusal could not be looked into", proxy=refusal.node.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guilty:
    """A document to take out."""

    resource: Resource[Any]
    message: str
    """What the data plane says of it, with file and line."""


def candidates(refusal: Refusal, documents: Documents) -> tuple[Key, ...]:
    """The documents that can have caused it: of those behind the refused resources the ones that this proxy never took, else all."""
    behind = tuple(dict.fromkeys(source.key for source in suspects(refusal.rejected) if source.key in documents))
    return tuple(key for key in behind if documents[key].revision > refusal.taken) or behind


def origin(refusal: Refusal, resource: Resource[Any]) -> Origin:
    """The line to point at: that of the rule if only one of the document's rules is in what was refused, else the document's."""
    rules = {s.origin for s in suspects(refusal.rejected) if s.key == resource.key}
    return rules.pop() if len(rules) == 1 else resource.origin


async def judge(refusal: Refusal, inputs: Inputs, built: Built, good: Documents, validate: Validate) -> tuple[Guilty, ...]:
    """The documents to take out; none when the data plane's validation finds nothing wrong (a port that is taken, for example).

    `good` has, for the documents that have one, the version that was in force before.
    """
    keys = candidates(refusal, inputs.resources)
    translator = Translator()

    async def without(suspected: Collection[Key]) -> str | None:
        resources = {k: r for k, r in inputs.resources.items() if k not in suspected}
        resources |= {k: good[k] for k in suspected if k in good}
        snapshot = translator.snapshot(view(build(replace(inputs, resources=resources), built).mesh, refusal.node))
        return await validate(static_config(snapshot, refusal.node))

    # What is patched is refused only together with the patch, which is the one to take out.
    patches = tuple(key for key in keys if key.kind == PATCHES)
    if 0 < len(patches) < len(keys) and await without(patches) is None:
        keys = patches
    found = await culprits(keys, lambda batch: without(set(keys) - set(batch))) if keys else {}
    return tuple(_guilty(refusal, inputs.resources[key], message) for key, message in found.items())


def _guilty(refusal: Refusal, resource: Resource[Any], message: str) -> Guilty:
    return Guilty(resource=resource, message=f"{origin(refusal, resource)}: Envoy refuses it: {message}")
