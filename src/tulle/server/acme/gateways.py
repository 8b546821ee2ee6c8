"""The connected gateways, as those who keep certificates know them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from tulle.compile import Built
from tulle.compile.challenges import answers
from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.proxy import Role
from tulle.server.fleet import Fleet, Member

SETTLING = 0.3
"""Seconds that a proxy's workers have to follow what the proxy has acknowledged."""


class Running(Protocol):
    """The state of a control plane."""

    fleet: Fleet
    built: Built


class FleetGateways:
    """Implements `work.Gateways`."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def able(self, kind: ChallengeType, host: str) -> bool:
        """Whether one of them has a port on which it can answer for a host."""
        return any(answers(self._running.built.mesh, member.node, kind, host) for member in self._members())

    async def shown(self, challenges: tuple[Challenge, ...], seconds: float) -> tuple[str, ...]:
        """Those that have not taken these answers after so long. One that refuses something else is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._is_built(challenges) or self._lagging():
                    await self._running.fleet.news()
        await asyncio.sleep(SETTLING)
        return self._lagging() if self._is_built(challenges) else ("the control plane itself",)

    def _members(self) -> Iterator[Member]:
        return (member for member in self._running.fleet.members.values() if member.node.role is Role.GATEWAY)

    def _is_built(self, challenges: tuple[Challenge, ...]) -> bool:
        return set(challenges) <= set(self._running.built.inputs.challenges)

    def _lagging(self) -> tuple[str, ...]:
        """All where not a single one is connected."""
        members = list(self._members())
        behind = tuple(member.node.id for member in members if not member.current and not member.refused)
        return behind if members else ("none is connected",)
