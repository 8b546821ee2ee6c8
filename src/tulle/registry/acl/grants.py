"""What a set of rules comes to: for each thing the rule that speaks for it.

A rule for the very name goes before those for prefixes, and of these the longest. Where several policies have a rule for the same name
or prefix, `deny` wins, then the one that gives most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tulle.registry.acl.rules import WHOLE, Access, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    exact: Mapping[tuple[str, str], Access] = field(default_factory=dict)
    prefixes: Mapping[str, tuple[tuple[str, Access], ...]] = field(default_factory=dict)
    """By kind, the longest first."""

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Grants:
        exact: dict[tuple[str, str], Access] = {}
        under: dict[tuple[str, str], Access] = {}
        for rule in rules:
            table, key = under if rule.prefix else exact, (rule.kind, rule.name)
            table[key] = _stronger(table.get(key), rule.access)
        by_kind: dict[str, list[tuple[str, Access]]] = {}
        for (kind, name), access in under.items():
            by_kind.setdefault(kind, []).append((name, access))
        prefixes = {kind: tuple(sorted(found, key=lambda item: -len(item[0]))) for kind, found in by_kind.items()}
        return cls(exact=exact, prefixes=prefixes)

    def access(self, kind: str, name: str) -> Access | None:
        """None where no rule speaks for it."""
        if (found := self.exact.get((kind, name))) is not None:
            return found
        if kind in WHOLE:
            return None
        return next((access for prefix, access in self.prefixes.get(kind, ()) if name.startswith(prefix)), None)

    def covering(self, kind: str, prefix: str) -> Access | None:
        """What the rule gives that is for all names which begin with a prefix."""
        return next((access for known, access in self.prefixes.get(kind, ()) if prefix.startswith(known)), None)

    def below(self, kind: str, prefix: str) -> list[Access]:
        """What rules give for some of the names that begin with a prefix."""
        wide = [access for known, access in self.prefixes.get(kind, ()) if known.startswith(prefix)]
        return wide + [access for (known, name), access in self.exact.items() if known == kind and name.startswith(prefix)]


def _stronger(one: Access | None, other: Access) -> Access:
    if one is None or one is other:
        return other
    return Access.DENY if Access.DENY in (one, other) else max(one, other)
