"""Places in documents that are valid and yet without effect: how they are told, and for which values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tulle.resources.paths import folded

Test = Callable[[Any], bool]


def _set(value: Any) -> bool:
    return value is not None and value is not False


def lacks(*names: str) -> Test:
    """The value has none of these fields."""
    wanted = {folded(name) for name in names}
    return lambda value: isinstance(value, Mapping) and not any(folded(key) in wanted for key, inner in value.items() if inner is not None)


def has(*names: str) -> Test:
    """The value has one of these fields."""
    without = lacks(*names)
    return lambda value: isinstance(value, Mapping) and not without(value)


def other_than(*harmless: Any) -> Test:
    return lambda value: value is not None and value not in harmless


def idle_in(modes: Iterable[Any], *names: str) -> Test:
    """TLS settings in one of these modes (None: the default one; numbers stand for the words) say something by these fields."""
    wanted, idle = frozenset(modes), {folded(name) for name in names}

    def test(tls: Any) -> bool:
        return isinstance(tls, Mapping) and tls.get("mode") in wanted and any(folded(key) in idle and value for key, value in tls.items())

    return test


def said(value: Any, name: str) -> Any:
    """What a field says; None where it is not there, or nothing is that could have it."""
    wanted = folded(name)
    return next((inner for key, inner in value.items() if folded(key) == wanted), None) if isinstance(value, Mapping) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A field of `spec` (`http[].fault.abort`; empty for all of it; `*` for any key), what to say after its path, and for which values."""

    path: str
    message: str
    when: Test = _set


def off(path: str, instead: str, when: Test = _set) -> Pending:
    return Pending(path=path, message=f"not in force: {instead}", when=when)


def under(prefix: str, entries: Iterable[Pending]) -> tuple[Pending, ...]:
    return tuple(Pending(path=f"{prefix}.{entry.path}".rstrip("."), message=entry.message, when=entry.when) for entry in entries)
