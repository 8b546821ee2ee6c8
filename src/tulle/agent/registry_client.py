"""Tells the registry of an instance, and goes on telling it: a registration that is not renewed expires.

While the control plane is away, the newest word is kept and told as soon as it is back; the traffic goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote

from tulle.agent.supervise import Policy
from tulle.credentials import NOBODY, Credentials
from tulle.http_client import Response, request
from tulle.model.service import Registration
from tulle.registry.form import dump
from tulle.secure import explained

REFUSED_AGAIN = 30.0
"""Seconds until a registration that the control plane refused is tried again as it is."""


class Refused(Exception):  # noqa: N818 - an answer, not a defect
    """The control plane does not take the registration. The message is its own."""


@dataclass(kw_only=True)
class Registrar:
    """Keeps one registration in the registry. `run` does it; `announce` and `leave` say what is to be there. Times in seconds."""

    api: str
    """`host:port` or the absolute path of a Unix socket."""
    id: str
    ttl: float
    renew: float
    report: Callable[[str], None]
    credentials: Credentials = NOBODY
    dice: Random = field(default_factory=Random)
    acknowledged: Registration | None = None
    """The last that the registry took."""

    def __post_init__(self) -> None:
        self._wanted: Registration | None = None
        self._changed = asyncio.Event()
        self._back_off = Policy(first_delay=0.1, max_delay=5.0)
        self._failures = 0
        self._left = False
        self._talking = asyncio.Lock()
        self._taken = asyncio.Condition()

    def announce(self, registration: Registration) -> None:
        """From now on this is what the registry shall know. Told at once; the latest word wins."""
        if registration != self._wanted:
            self._wanted = registration
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled, or until after `leave`."""
        await self._changed.wait()
        while not self._left:
            self._changed.clear()
            pause = await self._tell()
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _tell(self) -> float:
        """Tells the registry, and says how long to wait until the next time."""
        try:
            async with self._talking:
                if self._wanted and not self._left:
                    await self._put(self._wanted)
        except Refused as refused:
            self.report(f"the control plane at {self.api} refuses the registration: {refused}")
            return REFUSED_AGAIN
        except OSError as error:
            if not self._failures:
                self.report(
                    f"cannot register at the control plane {self.api}: {explained(error, self.api)}; trying again until it is there"
                )
            self._failures += 1
            return self._back_off.delay(self._failures - 1, self.dice.random())
        if self._failures:
            self.report("registered: the control plane is back")
        self._failures = 0
        return self.renew

    async def _put(self, registration: Registration) -> None:
        answer = await request(self.api, "PUT", f"{self._path}?ttl={self.ttl:g}s", body=dump(registration), credentials=self.credentials)
        if answer.status >= 500:
            raise ConnectionError(f"it answered {answer.status}")
        if answer.status >= 300:
            raise Refused(_message(answer))
        async with self._taken:
            self.acknowledged = registration
            self._taken.notify_all()

    async def until(self, wanted: Callable[[Registration], bool]) -> None:
        """Returns once the registry has taken a registration of that kind."""
        async with self._taken:
            await self._taken.wait_for(lambda: self.acknowledged is not None and wanted(self.acknowledged))

    async def leave(self, wait: float) -> bool:
        """Takes the instance out, for good. Whether all the proxies that knew it have said, within `wait` seconds, that they do no more."""
        self._left = True
        if self._wanted is None:
            return True
        try:
            # After a word still under way, or that could bring the registration back.
            async with self._talking:
                answer = await request(self.api, "DELETE", f"{self._path}?wait={wait:g}s", timeout=wait + 1.0, credentials=self.credentials)
        except OSError:
            return False
        return answer.status < 300

    @property
    def _path(self) -> str:
        return f"/api/v1/registrations/{quote(self.id, safe='')}"


def _message(answer: Response) -> str:
    try:
        said = answer.json()
    except ValueError:
        return f"{answer.status} {answer.text()[:300]}"
    return str(said.get("error") or said.get("message") or said) if isinstance(said, dict) else str(said)
