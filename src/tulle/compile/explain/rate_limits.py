"""Which limits a request counts against. How many came before it is not known here."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.compile.explain.access import Caller
from tulle.compile.explain.match import compare, texts
from tulle.compile.explain.request import Seen
from tulle.compile.explain.trace import Step, place, quote
from tulle.model.access import Attribute
from tulle.model.rate_limits import Counted, CountKey, Only, RateLimit

_UNITS = {1: "second", 60: "minute", 3600: "hour", 86_400: "day", 30 * 86_400: "month"}


def counted(limits: Iterable[RateLimit], caller: Caller, seen: Seen) -> tuple[Step, ...]:
    """A step for each limit."""
    return tuple(_step(limit, caller, seen) for limit in limits)


def _step(limit: RateLimit, caller: Caller, seen: Seen) -> Step:
    lost = next((only for only in limit.only if not _holds(only, seen)), None)
    name = f"{limit.source.key.kind}/{limit.source.key.name} {limit.source.field.removeprefix('spec.')}" if limit.source else limit.name
    why = _lost(lost, seen) if lost else _won(limit, caller, seen)
    return Step(rule=name, source=place(limit.source), matched=lost is None, why=why)


def _won(limit: RateLimit, caller: Caller, seen: Seen) -> str:
    # Envoy asks who counts for all only of what it sends on: not where it redirects or answers by itself.
    where = "over all proxies if it is sent on" if limit.shared else "by this proxy"
    unit = _UNITS.get(int(limit.per.total_seconds()), str(limit.per))
    allowed = f"{limit.requests} requests per {unit}, {limit.burst} at once, counted {where}"
    apart = " and ".join(f"{key} {_value(key, caller, seen)}" for key in limit.by)
    return f"it counts against {allowed}" + (f", for {apart}" if apart else "")


def _lost(only: Only, seen: Seen) -> str:
    found = " and ".join(map(quote, _values(only.attribute, seen))) or "absent"
    wanted = " or ".join(map(str, only.matches[:3]))
    return f"{only.attribute.value} is {found}, it counts {'all but' if only.negated else 'only'} {wanted}"


def _holds(only: Only, seen: Seen) -> bool:
    values = _values(only.attribute, seen)
    fits, not_so = (any(compare(m, value) for m in matches for value in values) for matches in (only.matches, only.but))
    return (fits and not not_so) != only.negated


def _values(attribute: Attribute, seen: Seen) -> tuple[str, ...]:
    if attribute is Attribute.PATH:
        return (seen.path.partition("?")[0],) if seen.path else ()
    return seen.values(":method" if attribute is Attribute.METHOD else ":authority")


def _value(key: CountKey, caller: Caller, seen: Seen) -> str:
    found = _found(key, caller, seen)
    return quote(found[0]) if found and found[0] else "that is absent"


def _found(key: CountKey, caller: Caller, seen: Seen) -> tuple[str, ...]:
    match key.counted:
        case Counted.CLIENT:
            return (caller.remote,)
        case Counted.PRINCIPAL:
            return (caller.principal,)
        case Counted.CLAIM:
            return tuple(texts(caller.claims, key.name))
        case Counted.HEADER:
            return seen.values(key.name[0])
        case Counted.METHOD | Counted.PATH:
            return _values(Attribute[key.counted.name], seen)
