"""The tour: through all stations, each with its rule in force and undone afterwards."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tulle.demo import bookshop
from tulle.demo.api import RefusedError
from tulle.demo.process import Mesh, MeshError
from tulle.demo.steps import STEPS, Finding, Places, Step
from tulle.demo.traffic import Traffic
from tulle.resources.read import read

Told = Callable[[Step, Finding | None], None]
"""Hears of each station twice: when it begins, and with what was found."""


async def walk(mesh: Mesh, told: Told, steps: tuple[Step, ...] = STEPS) -> bool:
    """Measures every station; whether all were as asked."""
    good = True
    async with places_of(mesh) as places:
        for step in steps:
            told(step, None)
            finding = await _visit(mesh, places, step)
            good = good and finding.ok
            told(step, finding)
    return good


async def _visit(mesh: Mesh, places: Places, step: Step) -> Finding:
    rule = {step.file: bookshop.text(step.file, mesh.ports)}
    try:
        await mesh.api.apply(rule)
        finding = await step.measure(places)
        await _undo(mesh, rule)
    except RefusedError as error:
        return Finding(measured=re.sub(r"\s+", " ", str(error)), ok=False)
    return finding


async def _undo(mesh: Mesh, rule: dict[str, str]) -> None:
    """What was there before comes back, what was not goes."""
    base = bookshop.text(bookshop.BASE, mesh.ports)
    kept = {resource.key for resource in read(base, bookshop.BASE).resources}
    if all(resource.key in kept for text in rule.values() for resource in read(text, "").resources):
        await mesh.api.apply({bookshop.BASE: base})
    else:
        await mesh.api.delete(rule)


@asynccontextmanager
async def places_of(mesh: Mesh) -> AsyncIterator[Places]:
    """Where the requests of the tour go. Raises MeshError when the mesh does not have what the tour needs."""
    proxies = await mesh.api.proxies()
    echoes = tuple(
        Traffic(f"http://{endpoint['address']}:{endpoint['port']}")
        for endpoint in await mesh.api.endpoints()
        if endpoint["host"].startswith("echo.")
    )
    places = Places(
        gateway=Traffic(mesh.gateway),
        ratings=Traffic("http://ratings:9080", proxy=_forward_proxy(proxies, "productpage")),
        echoes=echoes,
    )
    try:
        yield places
    finally:
        for traffic in (places.gateway, places.ratings, *echoes):
            traffic.close()


def _forward_proxy(proxies: Any, service: str) -> str:
    for proxy in proxies:
        if proxy["id"].startswith(f"sidecar~{service}") and proxy.get("httpProxy"):
            return f"http://{proxy['httpProxy']}"
    raise MeshError(f"no sidecar of {service} is connected")
