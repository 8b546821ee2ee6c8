"""Envoy's JSON without the secrets that Envoy wants in the midst of a configuration: keys of clients, hashes of passwords.

What stands in their place is good enough for `envoy --mode validate`, and lets nobody in.
"""

from __future__ import annotations

from typing import Any

from tulle.protos.names import type_url

_HASH = "(hidden)".ljust(28, ".")


def redacted(value: Any) -> Any:
    """The same value without them. Whatever put them there: a filter that a patch brings is treated alike."""
    if isinstance(value, list):
        return [redacted(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("@type")
    kept = {name: redacted(inner) for name, inner in value.items()}
    if kind in _KEYS:
        return kept | _credentials(value)
    return kept | {"users": _users(value["users"])} if kind in _PASSWORDS and "users" in value else kept


_KEYS, _PASSWORDS = (type_url("ApiKeyAuth"), type_url("ApiKeyAuthPerRoute")), (type_url("BasicAuth"), type_url("BasicAuthPerRoute"))


def _credentials(of: dict[str, Any]) -> dict[str, Any]:
    found = of.get("credentials", [])
    return {"credentials": [{**one, "key": f"(hidden {n})"} for n, one in enumerate(found, start=1)]} if found else {}


def _users(of: dict[str, Any]) -> dict[str, Any]:
    if "filename" in of or "environment_variable" in of:
        return of
    names = (line.partition(":")[0] for line in of.get("inline_string", "").splitlines() if line and not line.startswith("#"))
    return {"inline_string": "\n".join(f"{name}:{{SHA}}{_HASH}" for name in names)}
