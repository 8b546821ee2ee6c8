"""From the secret that a request shows to what it may do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from tulle.registry.acl.authority import ANONYMOUS, Authority
from tulle.registry.acl.builtin import BUILTIN, node_identity, service_identity
from tulle.registry.acl.grants import Grants
from tulle.registry.acl.rules import Access, Rule, RulesError, parse
from tulle.registry.tables import Tables
from tulle.registry.transitions import Refused

Paper = dict[str, Any]
"""A token, policy or role, in the words of Consul's API."""
ANONYMOUS_TOKEN: Paper = {
    "AccessorID": ANONYMOUS,
    "Description": "Anonymous Token",
    "Policies": [],
    "Roles": [],
    "ServiceIdentities": [],
    "NodeIdentities": [],
    "Local": False,
    "CreateTime": "1970-01-01T00:00:00Z",
}
SLOTS = ("default", "agent", "config_file_service_registration", "replication", "dns")
"""What an agent can be given tokens of its own for."""
_ROOM = 4096


def digest(secret: str) -> str:
    """What is kept of a secret. It is a random UUID, so that nothing slower than a plain hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Authorities:
    """Remembers what it found out until a token, policy or role changes."""

    def __init__(self, tables: Tables, *, default: Access, clock: Callable[[], datetime], datacenter: str) -> None:
        """`default`: for requests that no rule speaks of. `clock` tells the time of day."""
        self.default = default
        self.slots: dict[str, str] = {}
        """Secrets that this agent was given, by what for."""
        self._tables = tables
        self._clock = clock
        self._datacenter = datacenter
        self._seen = -1
        self._known: dict[str, Authority] = {}
        self._accessors: dict[str, str] = {}

    def of(self, secret: str) -> Authority:
        """Raises Refused(403) for a secret that nobody has."""
        if self._seen != self._tables.acl_changes:
            self._forget()
        token = self.token(secret)
        accessor: str = token["AccessorID"]
        if (known := self._known.get(accessor)) is None:
            if len(self._known) >= _ROOM:
                self._known.clear()
            known = self._known[accessor] = self._authority(token)
        return known

    def token(self, secret: str) -> Paper:
        """The token with a secret; that of who shows none for an empty one. Raises Refused(403)."""
        if self._seen != self._tables.acl_changes:
            self._forget()
        secret = secret or self.slots.get("default", "")
        if secret in ("", "anonymous"):
            kept = self._tables.acl["token"].get(ANONYMOUS)
            return kept.value if kept else ANONYMOUS_TOKEN
        kept = self._tables.acl["token"].get(self._accessors.get(digest(secret), ""))
        if kept is None or self.is_over(kept.value):
            raise Refused(403, "ACL not found")
        return kept.value

    def is_over(self, token: Paper) -> bool:
        """Whether a token's time is over."""
        end = token.get("ExpirationTime")
        return bool(end) and datetime.fromisoformat(str(end)) <= self._clock()

    def _forget(self) -> None:
        self._seen = self._tables.acl_changes
        self._known.clear()
        self._accessors = {
            kept.value["SecretHash"]: accessor for accessor, kept in self._tables.acl["token"].items() if "SecretHash" in kept.value
        }

    def _authority(self, token: Paper) -> Authority:
        rules = [rule for text in self._texts(token) for rule in _readable(text)]
        return Authority(accessor=token["AccessorID"], grants=Grants.of(rules), default=self.default)

    def _texts(self, token: Paper) -> Iterator[str]:
        roles = (self._tables.acl["role"].get(link["ID"]) for link in token["Roles"])
        for paper in (token, *(role.value for role in roles if role)):
            for link in paper["Policies"]:
                if (policy := self.policy(link["ID"])) and self._is_here(policy["Datacenters"]):
                    yield policy["Rules"]
            yield from (service_identity(i["ServiceName"]) for i in paper["ServiceIdentities"] if self._is_here(i["Datacenters"]))
            yield from (node_identity(i["NodeName"]) for i in paper["NodeIdentities"] if i["Datacenter"] == self._datacenter)

    def _is_here(self, datacenters: list[str]) -> bool:
        return not datacenters or self._datacenter in datacenters

    def policy(self, identifier: str) -> Paper | None:
        if identifier in BUILTIN:
            return BUILTIN[identifier]
        kept = self._tables.acl["policy"].get(identifier)
        return kept.value if kept else None


def _readable(text: str) -> tuple[Rule, ...]:
    """What an earlier release took and this one cannot read gives nothing."""
    try:
        return parse(text)
    except RulesError:
        return ()


def now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
