"""Requests against the OWASP Core Rule Set, as a Firewall wants it applied."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tulle.model.screen import Firewall
from tulle.server.firewall.library import NAME, Library, loaded

SETUP = Path("/etc/modsecurity/crs/crs-setup.conf")
RULES = Path("/usr/share/modsecurity-crs/rules")
"""Where Debian's package modsecurity-crs has them."""
_ID = re.compile(r'\[id "(\d+)"\]')
_SCORING = range(949000, 981000)
"""Rules that add up what the others found."""


class NoFirewallError(Exception):
    """The library or its rules are not on this machine, or cannot be used. The text says what to do."""


def missing() -> str:
    """Why no firewall can be in force on this machine; empty where one can."""
    try:
        loaded()
    except OSError:
        return f"{NAME} is not on the control plane's machine; install it and the Core Rule Set (Debian: libmodsecurity3, modsecurity-crs)"
    return "" if RULES.is_dir() else f"the Core Rule Set is not in {RULES}; install it (Debian: modsecurity-crs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    method: str
    uri: bytes
    """Path and query."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    client: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    status: int = 0
    """With which the request is refused; 0: it goes on."""
    rules: tuple[int, ...] = ()
    """Those that found something."""


@dataclass(slots=True)
class _Loaded:
    rules: int
    users: int = 0
    """Requests that are looked at just now."""


class Engine:
    """Judges requests, in whatever thread; rules are loaded when they are first asked for. `kept`: so many sets, of some megabytes each."""

    def __init__(self, kept: int = 16) -> None:
        self._kept = kept
        self._loaded: dict[str, _Loaded] = {}
        self._lock = threading.Lock()

    @cached_property
    def _library(self) -> Library:
        return Library()

    def judge(self, firewall: Firewall, request: HttpRequest) -> Verdict:
        """Raises NoFirewallError."""
        with self._using(directives(firewall)) as rules:
            status, said = self._library.judge(rules, request.method, request.uri, request.headers, request.body, request.client)
        found = dict.fromkeys(int(number) for line in said for number in _ID.findall(line)[:1])
        return Verdict(status=status, rules=tuple(number for number in found if number not in _SCORING))

    @contextmanager
    def _using(self, text: str) -> Iterator[int]:
        with self._lock:
            loaded = self._loaded.pop(text) if text in self._loaded else _Loaded(self._load(text))
            self._loaded[text] = loaded
            loaded.users += 1
        try:
            yield loaded.rules
        finally:
            with self._lock:
                loaded.users -= 1

    def _load(self, text: str) -> int:
        """Those that were not asked for the longest make room, but for those in use."""
        if why := missing():
            raise NoFirewallError(why)
        idle = [known for known, loaded in self._loaded.items() if not loaded.users]
        for known in idle[: max(0, len(self._loaded) - self._kept + 1)]:
            self._library.forget(self._loaded.pop(known).rules)
        try:
            return self._library.rules(text)
        except ValueError as error:
            raise NoFirewallError(f"the Core Rule Set cannot be used: {error}") from error


def _body_of(number: int, form: str, types: str) -> str:
    then = f"phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor={form}"
    return f'SecRule REQUEST_HEADERS:Content-Type "{types}" "id:{number},{then}"'


def directives(firewall: Firewall) -> str:
    """What stands around the Core Rule Set. Rules can be left out only once they are there."""
    lines = [
        f"SecRuleEngine {'On' if firewall.block else 'DetectionOnly'}",
        "SecRequestBodyAccess On",
        _body_of(200000, "XML", r"^(?:application(?:/soap\+|/)|text/)xml"),
        _body_of(200001, "JSON", r"^application/(?:[a-z0-9.-]+\+)?json"),
        f'SecAction "id:900000,phase:1,nolog,pass,t:none,setvar:tx.paranoia_level={firewall.paranoia}"',
        *([f"Include {SETUP}"] if SETUP.is_file() else ['SecDefaultAction "phase:1,log,pass"', 'SecDefaultAction "phase:2,log,pass"']),
        f"Include {RULES}/*.conf",
        *(f"SecRuleRemoveById {number}" for number in firewall.excluded),
    ]
    return "\n".join(lines) + "\n"
