"""What firewalls speak of: requests, answers, and what is found in them."""

from __future__ import annotations

from dataclasses import dataclass

NO_SEVERITY = 7


class NoFirewallError(Exception):
    """The library or its rules are not on this machine, or cannot be used. The text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    method: str
    uri: bytes
    """Path and query."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    client: str = "127.0.0.1"
    framed: bool = False
    """HTTP/2 or later: a body may come without a word of its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    status: int = 0
    """With which the request is refused; 0: it goes on."""
    rules: tuple[int, ...] = ()
    """Those that found something."""
    classes: tuple[str, ...] = ()
    """Of attacks, each once."""
    severity: int = NO_SEVERITY
    """The worst, as syslog numbers them: 2 is critical."""
    score: int = 0
    """How anomalous it is, all together."""


CLEAN = Verdict()
