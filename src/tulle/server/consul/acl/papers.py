"""The papers of access control as they are kept, and what they are linked to."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from tulle.registry import rows
from tulle.registry.acl.authorities import Paper
from tulle.registry.acl.builtin import BUILTIN
from tulle.registry.catalog import Kept
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.acl import identities
from tulle.server.consul.body import Body


class Papers:
    """Tokens, policies and roles by kind."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def tables(self) -> Mapping[str, Mapping[str, Kept[Paper]]]:
        return self._registry.tables.acl

    def new_id(self) -> str:
        return str(UUID(int=self._registry.dice.getrandbits(128), version=4))

    async def write(self, kind: str, identifier: str, decide: Callable[[Kept[Paper] | None], Paper | None]) -> Kept[Paper] | None:
        """Puts what `decide` makes of the paper as it is; None takes it out."""

        def writes(_: object) -> Sequence[Write]:
            kept = self.tables[kind].get(identifier)
            paper = decide(kept)
            key = f"{rows.ACL}{kind}/{identifier}"
            if paper is None:
                return [("delete", key, b"", kept.modified)] if kept else []
            data = json.dumps(paper, separators=(",", ":")).encode()
            return [("put", key, data, kept.modified if kept else 0)] if not kept or kept.value != paper else []

        await self._registry.change(writes)
        return self.tables[kind].get(identifier)

    def linked(self, body: Body, paper: Paper) -> Paper:
        """`paper` with what a body says that it is linked to. Raises Refused for what is not there."""
        if body.parts("TemplatedPolicies"):
            raise Refused(400, "TemplatedPolicies cannot be used here: write the rules as a policy")
        roles = {"Roles": [{"ID": self._linked_id("role", link)} for link in body.parts("Roles")]} if "Roles" in paper else {}
        return {
            **paper,
            "Policies": [{"ID": self._linked_id("policy", link)} for link in body.parts("Policies")],
            **roles,
            "ServiceIdentities": identities.service_identities(body),
            "NodeIdentities": identities.node_identities(body),
        }

    def _linked_id(self, kind: str, link: Body) -> str:
        identifier, name = link.text("ID"), link.text("Name")
        known = self.all(kind)
        if identifier in known:
            return identifier
        found = next((i for i, kept in known.items() if name and kept.value["Name"] == name), "")
        if not found or identifier:
            raise Refused(500, f"No such ACL {kind} with {f'ID {identifier!r}' if identifier else f'name {name!r}'}")
        return found

    def all(self, kind: str) -> Mapping[str, Kept[Paper]]:
        held = self.tables[kind]
        return {**{i: Kept(value=p, created=1, modified=1) for i, p in BUILTIN.items()}, **held} if kind == "policy" else held

    def links(self, paper: Paper) -> dict[str, Any]:
        """What a token or role is linked to, as far as it still exists; what it has none of is absent."""
        found: dict[str, Any] = {}
        for field, kind in (("Policies", "policy"), ("Roles", "role")):
            known = self.all(kind)
            linked = (link["ID"] for link in paper.get(field, ()) if link["ID"] in known)
            found[field] = [{"ID": identifier, "Name": known[identifier].value["Name"]} for identifier in linked]
        found["ServiceIdentities"] = [{k: v for k, v in i.items() if v} for i in paper["ServiceIdentities"]]
        found["NodeIdentities"] = paper["NodeIdentities"]
        return {field: links for field, links in found.items() if links}

    def unique(self, kind: str, paper: Paper) -> Paper:
        if any(kept.value["Name"] == paper["Name"] and i != paper["ID"] for i, kept in self.all(kind).items()):
            what = kind.capitalize()
            raise Refused(500, f'Invalid {what}: A {what} with Name "{paper["Name"]}" already exists')
        return paper

    def known(self, kind: str, identifier: str) -> Kept[Paper]:
        if (kept := self.all(kind).get(identifier)) is None:
            raise Refused(404, f"Requested {kind} does not exist: ACL not found")
        return kept

    def named(self, kind: str, name: str) -> Kept[Paper]:
        found = [kept for kept in self.all(kind).values() if kept.value["Name"] == name]
        if not found:
            raise Refused(404, f"Requested {kind} does not exist: ACL not found")
        return found[0]


def hash_of(paper: Paper) -> str:
    """Changes with what a paper says; nothing of its secret is in it."""
    said = {key: value for key, value in paper.items() if key != "SecretHash"}
    return base64.b64encode(hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=32).digest()).decode()
