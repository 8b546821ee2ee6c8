"""From a client's error text to the resources, and from those to the documents, that are to blame."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tulle.discovery.events import Rejected
from tulle.model.resource import Source


def named(message: str, names: Iterable[str]) -> frozenset[str]:
    """Those of `names` that an error text mentions as the guilty ones.

    Envoy writes `Error adding/updating cluster(s) NAME: why, NAME: why` (a newline in between for listeners). Other texts may mention
    a name somewhere, so names in front of a colon win over names anywhere.
    """
    mentioned = [name for name in names if _mentions(message, name, r"(?![\w|-]|\.\w)")]
    heads = frozenset(name for name in mentioned if _mentions(message, name, r": "))
    return heads or frozenset(mentioned)


def may_pass(message: str) -> bool:
    """Whether the cause is a port that somebody else has, so that trying again may help."""
    return "cannot bind" in message


def suspects(rejection: Rejected) -> tuple[Source, ...]:
    """The documents behind the refused entries, those first that had no part in what the client accepted before, without repeats."""
    out: dict[Source, None] = {}
    for entry in rejection.entries:
        before = rejection.replaced.get(entry.name)
        known = frozenset(before.sources) if before else frozenset()
        out.update(dict.fromkeys(source for source in entry.sources if source not in known))
    for entry in rejection.entries:
        out.update(dict.fromkeys(entry.sources))
    return tuple(out)


def _mentions(message: str, name: str, after: str) -> bool:
    return bool(name) and re.search(rf"(?<![\w.|:-]){re.escape(name)}{after}", message) is not None
