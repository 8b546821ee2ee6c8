"""How the Core Rule Set is applied to requests, and to their answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

CLUSTER = "tulle-firewall"
"""Of those who look at requests. Each proxy has it from the start."""
SOCKET = ".waf"
"""Ends the path of the socket on which they are asked: the rest is that of the control plane's own."""
POLICY = "tulle-firewall"
"""The metadata of a question that names the Firewalls."""
METADATA = "tulle.firewall"
"""The dynamic metadata of a request that says what was found."""
LONGEST = 2**20
"""Bytes of a body that proxies hold back where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """What is not looked at, where the path fits. Without rules and tags, by no rule; without targets, nothing of the request."""

    paths: tuple[str, ...] = ()
    """`/a`, `/a/*`, `*.css`. Without any, all."""
    rules: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    """Of rules: `attack-sqli`."""
    parameters: tuple[str, ...] = ()
    """Of queries, forms and JSON documents."""
    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """How much of bodies is looked at."""

    most: int
    """Bytes."""
    lenient: bool = False
    """Longer ones go on without a look; else they are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    name: str
    """`namespace/name`."""
    block: bool = True
    """Else what is found is only told."""
    paranoia: int = 1
    """The level up to which findings count."""
    told_paranoia: int = 1
    """The level up to which findings are told."""
    thresholds: tuple[int, int] = (5, 4)
    """Anomaly scores at which requests and answers are refused."""
    excluded: tuple[int, ...] = ()
    """Numbers of rules."""
    exclusions: tuple[Exclusion, ...] = ()
    content_types: tuple[str, ...] = ()
    """Beside those that the set lets in. Bodies of gRPC are not looked at."""
    rules: str = ""
    """Own ones, in the engine's language, before those of the set."""
    requests: Bodies = Bodies(most=LONGEST)
    answers: Bodies | None = None
    """None: answers are not looked at."""
    required: bool = False
    """What cannot be looked at is refused."""

    @property
    def id(self) -> str:
        """The same for all that say the same."""
        return _id(self)


@lru_cache(maxsize=1024)
def _id(of: Firewall) -> str:
    return f"{of.name}@{hashlib.sha256(repr(of).encode()).hexdigest()[:16]}"
