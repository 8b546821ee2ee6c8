"""Who calls a workload in plain text: what a proxy has counted of calls, by the port and the address that they came from. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tulle.model.plain_text import CALLER, CALLS, MOST_TOLD, PORT, PREFIX, REFUSED

PATTERN = rf"^{PREFIX}\.({CALLS}|{REFUSED})\.{PORT}\.\d+\.{CALLER}\..+$"
"""The statistics that tell."""
_COUNTER = re.compile(rf"{PREFIX}\.({CALLS}|{REFUSED})\.{PORT}\.(\d+)\.{CALLER}\.([0-9A-Fa-f:.]{{2,45}}(?:%\w{{1,16}})?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCaller:
    """Calls to a port of the workload from one address since its agent started."""

    port: int
    """As callers know it."""
    address: str
    calls: int = 0
    """Requests that were answered, on a port for HTTP; on others connections."""
    refused: int = 0
    """Connections that were refused."""
    last: str
    """When the last of either was noticed, as ISO 8601."""


@dataclass(kw_only=True)
class PlainCallers:
    """Follows the counts of one proxy, which forgets those who have not called for a while. The last of them are remembered here."""

    current: tuple[PlainCaller, ...] = ()
    """The latest first."""
    _counts: Mapping[tuple[str, int, str], int] = field(default_factory=dict)

    def take(self, stats: Mapping[str, int], now: str) -> None:
        """What the proxy says at a moment. It counts from zero again whom it forgot, and everybody when it was started again."""
        counts = {(match[1], int(match[2]), match[3]): value for name, value in stats.items() if (match := _COUNTER.fullmatch(name))}
        known = {(caller.port, caller.address): caller for caller in self.current}
        for (what, port, address), count in counts.items():
            before = self._counts.get((what, port, address), 0)
            if more := count - before if count >= before else count:
                caller = known.get((port, address), PlainCaller(port=port, address=address, last=now))
                known[port, address] = _with(caller, what, more, now)
        self._counts = counts
        self.current = _latest(known.values())


def _with(caller: PlainCaller, what: str, more: int, now: str) -> PlainCaller:
    if what == REFUSED:
        return replace(caller, refused=caller.refused + more, last=now)
    return replace(caller, calls=caller.calls + more, last=now)


def _latest(callers: Iterable[PlainCaller]) -> tuple[PlainCaller, ...]:
    in_order = sorted(callers, key=lambda c: (c.port, c.address))
    return tuple(sorted(in_order, key=lambda c: c.last, reverse=True)[:MOST_TOLD])
