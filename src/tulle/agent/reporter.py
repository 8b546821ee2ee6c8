"""Tells the control plane that an agent lives, and what its proxy says of itself, as often as the control plane wants to hear."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import quote

from tulle.agent import callers, plain_text
from tulle.agent.admin import Admin
from tulle.agent.callers import Counted
from tulle.agent.certificates import Shown, shown
from tulle.agent.ejections import Ejections, ejected_hosts
from tulle.agent.plain_text import PlainCallers
from tulle.agent.supervise import Policy
from tulle.credentials import NOBODY, Credentials
from tulle.http_client import request

if TYPE_CHECKING:
    from tulle.agent.envoy import Envoy
    from tulle.agent.membership import Membership
    from tulle.agent.spec import AgentSettings

EVERY = 3.0
"""Seconds between reports, until the control plane says."""
CONFIRM = 10
"""So many reports lie between two looks at whether what was ejected still is."""
NOWHERE: Mapping[int, int] = {}
LARGEST_LOG = 4 * 1024 * 1024
FEW_USES = 50
"""Of certificates, that are looked at with each report."""
_COUNTS = f"{callers.PATTERN}|{plain_text.PATTERN}"
MOST_CALLS, MOST_CERTIFICATES = 1000, 200
"""So many of each are told."""


@dataclass(kw_only=True)
class Reporter:
    """`run` reports until it is cancelled; `leave` says goodbye."""

    api: str
    """`host:port` or the absolute path of a Unix socket."""
    id: str
    node: str
    address: str
    admin: Admin | None = None
    log: Path = Path()
    """Where the proxy writes of ejections. Without a proxy there is neither."""
    inbound: Mapping[int, int] = field(default_factory=dict)
    """Where the proxy listens for callers of its workload, and the ports that those know."""
    credentials: Credentials = NOBODY
    member: Membership | None = None
    dice: Random = field(default_factory=Random)

    @classmethod
    def beside(
        cls,
        envoy: Envoy,
        at: AgentSettings,
        *,
        id: str,  # noqa: A002 - as the class calls it
        address: str,
        dice: Random,
        inbound: Mapping[int, int] = NOWHERE,
    ) -> Reporter:
        """Of the agent that runs a proxy."""
        return cls(
            api=at.api,
            id=id,
            node=at.node,
            address=address,
            admin=envoy.admin,
            log=envoy.ejection_log,
            inbound=inbound,
            credentials=at.credentials,
            member=at.member,
            dice=dice,
        )

    def __post_init__(self) -> None:
        self._ejections = Ejections()
        self._callers = Counted(self.inbound)
        self._plain = PlainCallers()
        self._certificates: tuple[Shown, ...] = ()
        self._uses = 0
        self._read = 0
        self._turn = 0
        self.heard = asyncio.Event()
        """The control plane has had a report."""
        self._back_off = Policy(first_delay=0.1, max_delay=EVERY)

    async def run(self) -> None:
        failures = 0
        while True:
            self._follow()
            await self._confirm()
            await self._count()
            await self._look_at_certificates()
            try:
                pause = await self._report()
                failures = 0
                self.heard.set()
            except (OSError, ValueError):  # whoever registers here says what is wrong
                pause = self._back_off.delay(failures, self.dice.random())
                failures += 1
            await asyncio.sleep(pause)

    async def _report(self) -> float:
        """Seconds until the next report. Raises OSError, ValueError."""
        answer = await request(self.api, "PUT", self._path, body=self._body(), credentials=self.credentials)
        if answer.status != 200:
            raise ConnectionError(f"it answered {answer.status}")
        said = answer.json()
        if self.member and isinstance(said, dict) and said.get("outdated"):
            self.member.outdated()
        every = float(said.get("every", EVERY)) if isinstance(said, dict) else EVERY
        return min(60.0, max(0.1, every)) * self.dice.uniform(0.9, 1.0)

    async def leave(self) -> None:
        with contextlib.suppress(OSError):
            await request(self.api, "DELETE", self._path, timeout=1.0, credentials=self.credentials)

    @property
    def _path(self) -> str:
        return f"/api/v1/agents/{quote(self.id, safe='')}"

    def _body(self) -> bytes:
        ejected = [asdict(ejected) for ejected in self._ejections.current.values()]
        counted = [asdict(one) for one in self._callers.current.values()]
        plain = [asdict(one) for one in self._plain.current]
        calls = [asdict(calls) for calls in self._callers.calls[:MOST_CALLS]]
        certificates = [asdict(one) for one in self._certificates[:MOST_CERTIFICATES]]
        seen = {"ejected": ejected, "callers": counted, "plain": plain, "calls": calls, "certificates": certificates}
        said = {"node": self.node, "address": self.address, **seen}
        return json.dumps(said | ({"holds": self.member.holds} if self.member else {})).encode()

    def _follow(self) -> None:
        """Reads what the proxy has written since, line by line; a log that has grown large begins anew."""
        try:
            with self.log.open("r+b") as file:
                file.seek(self._read)
                lines = file.read().rpartition(b"\n")[0]
                self._read += len(lines) + (1 if lines else 0)
                if self._read > LARGEST_LOG:
                    file.truncate(0)
                    self._read = 0
        except OSError:
            return
        for line in lines.decode(errors="replace").splitlines():
            self._ejections.take(line)

    async def _count(self) -> None:
        if self.admin:
            with contextlib.suppress(OSError, ValueError):
                stats, now = await self.admin.stats(_COUNTS), datetime.now(UTC).isoformat(timespec="seconds")
                self._callers.take(stats, now)
                self._plain.take(stats, now)

    async def _look_at_certificates(self) -> None:
        """Seldom where the proxy has much to say: it tells of each use of each."""
        if self.admin and (self._turn % CONFIRM == 0 or self._uses < FEW_USES):
            with contextlib.suppress(OSError, ValueError, KeyError):
                said = await self.admin.certificates()
                self._certificates, self._uses = shown(said), len(said.get("certificates", ()))

    async def _confirm(self) -> None:
        """Instances that went while they were ejected, and a proxy that was started again, leave no line in the log."""
        self._turn += 1
        if self.admin and self._ejections.current and self._turn % CONFIRM == 0:
            with contextlib.suppress(OSError, ValueError):
                self._ejections.keep(ejected_hosts(await self.admin.clusters()))
