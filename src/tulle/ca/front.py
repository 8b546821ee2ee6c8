"""The control plane's own certificate, which it shows to proxies, agents and people who reach it from other machines.

It is looked at whenever somebody connects, so it is made anew just when it is due, or when the authority has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from tulle.ca.authority import Authority, Issued
from tulle.ca.clock import utc
from tulle.ca.files import AuthorityError
from tulle.logs import Log
from tulle.model.identity import control_plane

HALF = 0.5
"""Of its life: when it is made anew."""
_log = Log("ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is shown to those who connect, and the roots by which they are judged."""

    issued: Issued
    roots: bytes
    """PEM."""
    generation: int
    """Of the authority."""


class Front:
    """May be asked from any thread."""

    def __init__(self, authority: Authority, hosts: tuple[str, ...] = (), now: Callable[[], datetime] = utc) -> None:
        """`hosts`: names and addresses by which others reach the control plane. Raises AuthorityError where nothing can be signed."""
        self._authority, self._hosts, self._now = authority, hosts, now
        self._lock = Lock()
        self._shown = self._made()

    def shown(self) -> Shown:
        """The same object until something about it changes."""
        with self._lock:
            if self._shown.generation != self._authority.generation or self._is_due():
                self._renew()
            return self._shown

    def _is_due(self) -> bool:
        issued = self._shown.issued
        return self._now() > issued.not_before + (issued.not_after - issued.not_before) * HALF

    def _renew(self) -> None:
        try:
            self._shown = self._made()
        except AuthorityError as error:
            _log.warning("the control plane's own certificate could not be renewed", error=str(error))

    def _made(self) -> Shown:
        generation = self._authority.generation
        issued = self._authority.issue(control_plane(self._authority.trust_domain), hosts=self._hosts)
        return Shown(issued=issued, roots=self._authority.bundle(), generation=generation)
