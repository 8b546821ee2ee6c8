"""What a rule and the rule that delegates to it say together (BEHAVIOURS 10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tulle.resources.networking.common import PresenceMatch, StringMatch
from tulle.resources.networking.virtual_service import HttpMatch, HttpRoute

_INHERITED = ("timeout", "retries", "fault", "rewrite", "cors_policy", "headers", "mirror", "mirror_percentage")
_STRINGS = ("uri", "scheme", "method", "authority")
_MATCHES = ("headers", "query_params")


class ConflictError(Exception):
    """Nothing can match both."""


def conditions(root: HttpMatch | None, leaf: HttpMatch | None) -> HttpMatch | None:
    """What matches both. The leaf must ask for the same or less than the root.

    Raises:
        ConflictError: the leaf asks for something outside of what the root matches.
    """
    if root is None or leaf is None:
        return leaf or root
    update: dict[str, Any] = {"name": _joined(root.name, leaf.name)}
    update.update((field, _narrower(getattr(root, field), getattr(leaf, field))) for field in _STRINGS)
    update.update((field, _both(getattr(root, field), getattr(leaf, field), _narrower)) for field in _MATCHES)
    update["without_headers"] = _both(root.without_headers, leaf.without_headers, _wider)
    update["source_labels"] = _both(root.source_labels, leaf.source_labels, _same)
    update.update((field, _same(getattr(root, field), getattr(leaf, field))) for field in ("port", "source_namespace"))
    if root.uri and leaf.uri and root.ignore_uri_case != leaf.ignore_uri_case:
        raise ConflictError
    if root.gateways and not set(leaf.gateways) <= set(root.gateways):
        raise ConflictError
    update["gateways"] = leaf.gateways or root.gateways
    update["ignore_uri_case"] = leaf.ignore_uri_case or root.ignore_uri_case
    update["stat_prefix"] = leaf.stat_prefix or root.stat_prefix
    return leaf.model_copy(update=update)


def routes(root: HttpRoute, leaf: HttpRoute) -> HttpRoute:
    """The leaf's rule, with what it leaves open taken from the root."""
    update: dict[str, Any] = {field: getattr(root, field) for field in _INHERITED if getattr(leaf, field) is None}
    if not leaf.mirrors:
        update["mirrors"] = root.mirrors
    return leaf.model_copy(update={**update, "name": _joined(root.name, leaf.name)})


def _joined(root: str | None, leaf: str | None) -> str | None:
    return "-".join(part for part in (root, leaf) if part) or None


def _narrower(root: StringMatch | PresenceMatch | None, leaf: StringMatch | PresenceMatch | None) -> StringMatch | PresenceMatch | None:
    if root is None or leaf is None:
        return leaf or root
    if root == leaf or (isinstance(root, PresenceMatch) and root.is_presence):
        return leaf
    inner = leaf.exact if leaf.exact is not None else leaf.prefix
    if root.prefix is not None and inner is not None and inner.startswith(root.prefix):
        return leaf
    raise ConflictError


def _wider(root: PresenceMatch, leaf: PresenceMatch) -> PresenceMatch:
    """What is kept out: the leaf must keep out the same or more."""
    _narrower(leaf, root)
    return leaf


def _both(root: Mapping[str, Any], leaf: Mapping[str, Any], united: Callable[[Any, Any], Any]) -> Mapping[str, Any]:
    if not root or not leaf:
        return leaf or root
    common = {name: united(root[name], leaf[name]) for name in root.keys() & leaf.keys()}
    return type(leaf)({**root, **leaf, **common})  # type: ignore[call-arg]


def _same(root: object, leaf: object) -> object:
    if root is not None and leaf is not None and root != leaf:
        raise ConflictError
    return leaf if leaf is not None else root
