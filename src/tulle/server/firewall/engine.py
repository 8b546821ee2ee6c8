"""Requests and their answers against the Core Rule Set, as a Firewall wants it applied."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from tulle.model.firewall import Firewall
from tulle.server.firewall.directives import RULES, directives
from tulle.server.firewall.library import NAME, Library, Transaction, loaded
from tulle.server.firewall.words import CLEAN, NO_SEVERITY, HttpAnswer, HttpRequest, NoFirewallError, Verdict

_ID = re.compile(rb'\[id "(\d+)"\]')
_SEVERITY = re.compile(rb'\[severity "(\d+)"\]')
_TAG = re.compile(rb'\[tag "attack-(?:injection-)?([a-z]+)"\]')
_TOTAL = re.compile(rb"Total Score: (\d+)")
_SCORING = (949, 959, 980)
"""Thousands of the numbers of rules that add up what the others found."""
_SCORES = {2: 5, 3: 4, 4: 3, 5: 2}
"""Of the severities critical, error, warning and notice."""
_BY_FILE = {
    910: "reputation",
    911: "protocol",
    913: "scanner",
    920: "protocol",
    921: "protocol",
    922: "protocol",
    930: "lfi",
    931: "rfi",
    932: "rce",
    933: "php",
    934: "generic",
    941: "xss",
    942: "sqli",
    943: "fixation",
    944: "java",
    **dict.fromkeys(range(950, 957), "disclosure"),
}
"""Classes of attacks, by the thousands of the set's numbers: not every message names the rule's tags."""
_BY_TAG = frozenset("java ldap nodejs nosql protocol ssrf ssti xxe".split())  # noqa: SIM905
"""The tags of other rules that say a class. What says none is `other`."""
_AGAIN = 10.0
"""Seconds until the library is looked for again where it was missing."""


def missing() -> str:
    """Why no firewall can be in force on this machine; empty where one can."""
    try:
        loaded()
    except OSError:
        return f"{NAME} is not on the control plane's machine; install it and the Core Rule Set (Debian: libmodsecurity3, modsecurity-crs)"
    return "" if RULES.is_dir() else f"the Core Rule Set is not in {RULES}; install it (Debian: modsecurity-crs)"


def verdict(status: int, said: Iterable[bytes]) -> Verdict:
    """What the engine's own words come to."""
    rules: dict[int, int] = {}
    classes: dict[str, None] = {}
    total = 0
    for line in said:
        number = int(found[1]) if (found := _ID.search(line)) else 0
        if number // 1000 in _SCORING:
            total = max(total, int(found[1]) if (found := _TOTAL.search(line)) else 0)
        elif number:
            rules[number] = int(found[1]) if (found := _SEVERITY.search(line)) else NO_SEVERITY
            classes[_class(number, line)] = None
    if not rules and not status:
        return CLEAN
    score = total or sum(_SCORES.get(s, 0) for s in rules.values())
    return Verdict(
        status=status, rules=tuple(rules), classes=tuple(classes), severity=min(rules.values(), default=NO_SEVERITY), score=score
    )


def _class(number: int, line: bytes) -> str:
    tags = (found.decode() for found in _TAG.findall(line))
    return _BY_FILE.get(number // 1000) or next((tag for tag in tags if tag in _BY_TAG), "other")


@dataclass(slots=True)
class _Loaded:
    rules: int
    users: int = 0
    """Requests that are looked at just now."""


@dataclass(slots=True)
class Exchange:
    """One request under one Firewall; what asks for it is to close it."""

    firewall: Firewall
    _transaction: Transaction

    def request(self, of: HttpRequest) -> Verdict:
        status = self._transaction.request(of)
        return verdict(status, self._transaction.said)

    def answer(self, of: HttpAnswer) -> Verdict:
        """Without what was found in the request."""
        self._transaction.said.clear()
        status = self._transaction.answer(of.status, of.headers, of.body)
        return verdict(status, self._transaction.said)


class Engine:
    """Judges requests, in whatever thread; rules are loaded when they are first asked for. `kept`: so many sets, of some megabytes each."""

    def __init__(self, kept: int = 16) -> None:
        self._kept = kept
        self._loaded: dict[Firewall, _Loaded] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._missing: tuple[float, str] | None = None

    @cached_property
    def _library(self) -> Library:
        return Library()

    def load(self, firewall: Firewall) -> None:
        """Makes ready for requests. Raises NoFirewallError."""
        with self._using(firewall):
            pass

    def judge(self, firewall: Firewall, request: HttpRequest, answer: HttpAnswer | None = None) -> Verdict:
        """Of a request, or of its answer. Raises NoFirewallError."""
        with self.exchange(firewall) as on:
            found = on.request(request)
            return found if answer is None or found.status else on.answer(answer)

    @contextmanager
    def exchange(self, firewall: Firewall) -> Iterator[Exchange]:
        """Raises NoFirewallError."""
        with self._using(firewall) as rules:
            transaction = self._library.transaction(rules.rules)
            try:
                yield Exchange(firewall, transaction)
            finally:
                transaction.close()

    @contextmanager
    def _using(self, firewall: Firewall) -> Iterator[_Loaded]:
        loaded = self._taken(firewall) or self._kept_from_now(firewall, _Loaded(self._load(firewall), users=1))
        try:
            yield loaded
        finally:
            with self._lock:
                loaded.users -= 1

    def _taken(self, firewall: Firewall) -> _Loaded | None:
        """Those that were asked for last stand at the end."""
        with self._lock:
            if loaded := self._loaded.pop(firewall, None):
                self._loaded[firewall] = loaded
                loaded.users += 1
            return loaded

    def _kept_from_now(self, firewall: Firewall, made: _Loaded) -> _Loaded:
        """Those that were not asked for the longest make room, but for those in use."""
        with self._lock:
            if known := self._loaded.get(firewall):  # somebody else was faster
                self._library.forget(made.rules)
                known.users += 1
                return known
            idle = [known for known, loaded in self._loaded.items() if not loaded.users]
            for old in idle[: max(0, len(self._loaded) - self._kept + 1)]:
                self._library.forget(self._loaded.pop(old).rules)
            self._loaded[firewall] = made
            return made

    def _load(self, firewall: Firewall) -> int:
        """Takes a tenth of a second. The engine ends the whole process when two threads read rules at the same time."""
        with self._loading:
            return self._read(firewall)

    def _read(self, firewall: Firewall) -> int:
        if why := self._why():
            raise NoFirewallError(why)
        try:
            return self._library.rules(directives(firewall))
        except ValueError as error:
            raise NoFirewallError(f"the rules cannot be used: {error}") from error

    def _why(self) -> str:
        now = time.monotonic()
        if self._missing is None or (self._missing[1] and now - self._missing[0] > _AGAIN):
            self._missing = now, missing()
        return self._missing[1]
