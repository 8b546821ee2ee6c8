"""Patches of route tables, their virtual hosts and their routes."""

from __future__ import annotations

from typing import Any

from tulle.model.patches import Patch
from tulle.translate.patching import matching
from tulle.translate.patching.lists import change, merged
from tulle.translate.patching.values import Values

KINDS = ("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE")


def run(table: Any, patches: tuple[Patch, ...], values: Values) -> list[Patch]:
    """Changes the table; the patches that did something."""
    meant = [p for p in patches if matching.matches_table(p.match, table.name)]
    by = [p for p in meant if p.apply_to == "ROUTE_CONFIGURATION" and merged(table, p, values(p))]
    by += [p for p in meant if p.apply_to == "VIRTUAL_HOST" and _hosts(table, p, values)]
    return by + [p for p in meant if p.apply_to == "HTTP_ROUTE" and _routes(table, p, values)]


def _hosts(table: Any, patch: Patch, values: Values) -> bool:
    return change(table.virtual_hosts, patch, values(patch), lambda host: matching.matches_host(patch.match, host))


def _routes(table: Any, patch: Patch, values: Values) -> bool:
    hosts = [h for h in table.virtual_hosts if matching.matches_host(patch.match, h)]
    changed = [change(h.routes, patch, values(patch), lambda route: matching.matches_route(patch.match, route)) for h in hosts]
    return any(changed)
