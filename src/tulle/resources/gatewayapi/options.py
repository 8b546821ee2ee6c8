"""The names and values of TLS options that are known. The specification leaves options to those who implement it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tulle.resources.networking import tls

MINIMUM, MAXIMUM = "tulle.dev/minimum-version", "tulle.dev/maximum-version"
CIPHERS, CURVES = "tulle.dev/cipher-suites", "tulle.dev/curves"
"""Several with commas between."""
TERMINATE_MODE = "gateway.istio.io/tls-terminate-mode"
"""Istio's: with MUTUAL, callers show certificates of the authority in the listener's own Secret."""

VERSIONS = frozenset({"1.0", "1.1", "1.2", "1.3"})
MODES = frozenset({"SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"})


def listed(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def _among(known: frozenset[str]) -> Callable[[str], bool]:
    return lambda value: all(part in known for part in listed(value))


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    MINIMUM: VERSIONS.__contains__,
    MAXIMUM: VERSIONS.__contains__,
    CIPHERS: _among(frozenset(tls.CIPHER_SUITES)),
    CURVES: _among(frozenset(tls.CURVES)),
    TERMINATE_MODE: MODES.__contains__,
}
NAMES = ", ".join(_CHECKS)


def has_strange_names(options: Any) -> bool:
    """Whether options are given that nobody knows."""
    return isinstance(options, Mapping) and any(name not in _CHECKS for name in options)


def has_strange_values(options: Any) -> bool:
    """Whether known options are given with values that nobody knows."""
    return isinstance(options, Mapping) and any(not check(str(options[name])) for name, check in _CHECKS.items() if name in options)
