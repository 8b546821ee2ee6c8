"""Patches of route tables, their virtual hosts and their routes."""

from __future__ import annotations

from typing import Any

from tulle.model import patch_names
from tulle.model.patches import Patch
from tulle.translate.common import spread
from tulle.translate.patching import matching
from tulle.translate.patching.lists import change, merged
from tulle.translate.patching.values import Values

KINDS = ("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE")


def run(table: Any, patches: tuple[Patch, ...], values: Values) -> list[Patch]:
    """Changes the table; the patches that did something."""
    meant = [p for p in patches if patch_names.matches_table(p.match, table.name)]
    if meant:
        spread(table)
    whole = [p for p in meant if p.apply_to == "ROUTE_CONFIGURATION" and patch_names.has_port(p.match, table.name)]
    by = [p for p in whole if merged(table, p, values(p))]
    by += [p for p in meant if p.apply_to == "VIRTUAL_HOST" and _hosts(table, p, values)]
    return by + [p for p in meant if p.apply_to == "HTTP_ROUTE" and _routes(table, p, values)]


def _hosts(table: Any, patch: Patch, values: Values) -> bool:
    if patch.operation == "ADD" and not patch_names.has_port(patch.match, table.name):
        return False
    return change(table.virtual_hosts, patch, values(patch), lambda host: matching.matches_host(patch.match, host, table.name))


def _routes(table: Any, patch: Patch, values: Values) -> bool:
    hosts = [h for h in table.virtual_hosts if matching.matches_host(patch.match, h, table.name)]
    changed = [change(h.routes, patch, values(patch), lambda route: matching.matches_route(patch.match, route)) for h in hosts]
    return any(changed)
