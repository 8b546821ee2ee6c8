"""A file with a JSON Web Token for the application beside it, put there anew long before the old one ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random

from tulle import private_file
from tulle.agent.supervise import Policy
from tulle.credentials import NOBODY, Credentials
from tulle.http_client import request

HALF, JITTER = 0.5, 0.05
"""Of a token's life: when it is replaced, and by how much that differs, so that not all come at once."""


class JwtError(OSError):
    """The control plane gives no token. The message says why."""


@dataclass(kw_only=True)
class JwtFile:
    """`run` keeps it; `there` is set once the application can read a token."""

    path: Path
    audiences: tuple[str, ...]
    api: str
    workload: str
    """`NAMESPACE/SERVICE_ACCOUNT`"""
    report: Callable[[str], None]
    credentials: Credentials = NOBODY
    least: float = 1.0
    """Seconds between two tokens, whatever the clocks say."""
    now: Callable[[], float] = time.time
    dice: Random = field(default_factory=Random)
    there: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until it is cancelled; then there is no file any more. What there is stays while no other is to be had."""
        back_off, failures = Policy(first_delay=0.1, max_delay=10.0), 0
        try:
            while True:
                try:
                    rest = await self._renewed()
                    failures = 0
                except OSError as error:
                    if not failures:
                        self.report(f"no token for {', '.join(self.audiences)} in {self.path}: {error}; trying again")
                    rest, failures = back_off.delay(failures, self.dice.random()), failures + 1
                await asyncio.sleep(rest)
        finally:
            with contextlib.suppress(OSError):
                self.path.unlink()

    async def _renewed(self) -> float:
        """Seconds until it is time for the next. Raises OSError."""
        begun = self.now()
        body = json.dumps({"for": self.workload, "audience": self.audiences}).encode()
        answer = await request(self.api, "POST", "/api/v1/identity/jwt", body=body, credentials=self.credentials)
        try:
            said = answer.json()
            if answer.status != 201:
                raise JwtError(f"the control plane refuses: {said['error']}")
            private_file.write(self.path, said["token"])
            left = datetime.fromisoformat(said["expires"]).timestamp() - begun
        except (ValueError, KeyError, TypeError):
            raise JwtError(f"what answers is no control plane of Tulle (status {answer.status})") from None
        self.there.set()
        return max(left * (HALF + self.dice.uniform(-JITTER, JITTER)), self.least)
