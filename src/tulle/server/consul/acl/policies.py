"""`/v1/acl/policy` and `/v1/acl/role`: what tokens are linked to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tulle.registry.acl.authorities import Paper
from tulle.registry.acl.builtin import BUILTIN
from tulle.registry.acl.rules import RulesError, parse
from tulle.registry.catalog import Kept
from tulle.registry.transitions import Refused
from tulle.registry.waiting import Topic
from tulle.server.consul.acl.papers import Papers, hash_of
from tulle.server.consul.app import Route
from tulle.server.consul.body import Body
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ROLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
_TOPICS: tuple[Topic, ...] = (("acl",),)


class PolicyApi:
    def __init__(self, papers: Papers) -> None:
        self._papers = papers

    def routes(self) -> Sequence[Route]:
        table = (
            ("PUT", "policy", self.create),
            ("GET", "policy/name/", self.by_name),
            ("GET", "policy/", self.one),
            ("PUT", "policy/", self.update),
            ("DELETE", "policy/", self.delete),
            ("GET", "policies", self.all),
        )
        return [Route(method=method, path=f"/v1/acl/{path}", handler=handler) for method, path, handler in table]

    async def create(self, ask: Ask) -> Reply:
        body = ask.json()
        if body.text("ID"):
            raise Refused(400, "Cannot specify the ID when creating a new policy")
        return await self._put(self._papers.new_id(), body)

    async def update(self, ask: Ask) -> Reply:
        body = ask.json()
        if body.text("ID") not in ("", ask.rest):
            raise Refused(400, "The policy ID in the URL and payload do not match")
        if ask.rest in BUILTIN:
            raise Refused(500, f"Changing the Rules for the builtin {BUILTIN[ask.rest]['Name']} policy is not permitted")
        self._papers.known("policy", ask.rest)
        return await self._put(ask.rest, body)

    async def _put(self, identifier: str, body: Body) -> Reply:
        name, text = body.text("Name"), body.text("Rules")
        if not name:
            raise Refused(500, "Invalid Policy: no Name is set")
        if not _NAME.fullmatch(name):
            raise Refused(500, "Invalid Policy: invalid Name. Only alphanumeric characters, '-' and '_' are allowed")
        try:
            parse(text)
        except RulesError as error:
            raise Refused(400, f"Failed to parse ACL rules: {error}") from None
        paper = {
            "ID": identifier,
            "Name": name,
            "Description": body.text("Description"),
            "Rules": text,
            "Datacenters": list(body.texts("Datacenters")),
        }
        return Reply(value=_policy_shape(await self._papers.write("policy", identifier, lambda _: self._papers.unique("policy", paper))))

    def one(self, ask: Ask) -> Found:
        return Found(topics=_TOPICS, look=lambda: Reply(value=_policy_shape(self._papers.known("policy", ask.rest))))

    def by_name(self, ask: Ask) -> Found:
        return Found(topics=_TOPICS, look=lambda: Reply(value=_policy_shape(self._papers.named("policy", ask.rest))))

    def all(self, _: Ask) -> Found:
        def look() -> Reply:
            held = self._papers.all("policy")
            shapes = (_policy_shape(held[i]) for i in sorted(held))
            return Reply(value=[{k: v for k, v in shape.items() if k != "Rules"} for shape in shapes])

        return Found(topics=_TOPICS, look=look)

    async def delete(self, ask: Ask) -> Reply:
        if ask.rest in BUILTIN:
            raise Refused(500, f"Delete operation not permitted on the builtin {BUILTIN[ask.rest]['Name']} policy")
        await self._papers.write("policy", ask.rest, lambda _: None)
        return TRUE_REPLY


class RoleApi:
    def __init__(self, papers: Papers) -> None:
        self._papers = papers

    def routes(self) -> Sequence[Route]:
        table = (
            ("PUT", "role", self.create),
            ("GET", "role/name/", self.by_name),
            ("GET", "role/", self.one),
            ("PUT", "role/", self.update),
            ("DELETE", "role/", self.delete),
            ("GET", "roles", self.all),
        )
        return [Route(method=method, path=f"/v1/acl/{path}", handler=handler) for method, path, handler in table]

    async def create(self, ask: Ask) -> Reply:
        return await self._put(self._papers.new_id(), ask.json())

    async def update(self, ask: Ask) -> Reply:
        self._papers.known("role", ask.rest)
        body = ask.json()
        if body.text("ID") not in ("", ask.rest):
            raise Refused(400, "The role ID in the URL and payload do not match")
        return await self._put(ask.rest, body)

    async def _put(self, identifier: str, body: Body) -> Reply:
        name = body.text("Name")
        if not _ROLE_NAME.fullmatch(name):
            raise Refused(500, "Invalid Role: invalid Name. Only alphanumeric characters, '-' and '_' are allowed")
        paper = self._papers.linked(body, {"ID": identifier, "Name": name, "Description": body.text("Description")})
        return Reply(value=self._shape(await self._papers.write("role", identifier, lambda _: self._papers.unique("role", paper))))

    def one(self, ask: Ask) -> Found:
        return Found(topics=_TOPICS, look=lambda: Reply(value=self._shape(self._papers.known("role", ask.rest))))

    def by_name(self, ask: Ask) -> Found:
        return Found(topics=_TOPICS, look=lambda: Reply(value=self._shape(self._papers.named("role", ask.rest))))

    def all(self, ask: Ask) -> Found:
        policy = ask.get("policy")

        def look() -> Reply:
            held = self._papers.tables["role"]
            chosen = (held[i] for i in sorted(held) if not policy or any(link["ID"] == policy for link in held[i].value["Policies"]))
            return Reply(value=[self._shape(kept) for kept in chosen])

        return Found(topics=_TOPICS, look=look)

    async def delete(self, ask: Ask) -> Reply:
        await self._papers.write("role", ask.rest, lambda _: None)
        return TRUE_REPLY

    def _shape(self, kept: Kept[Paper] | None) -> dict[str, Any]:
        if kept is None:
            raise Refused(404, "Requested role does not exist: ACL not found")
        role = kept.value
        head = {"ID": role["ID"], "Name": role["Name"], "Description": role["Description"], **self._papers.links(role)}
        return {**head, "Hash": hash_of(role), "CreateIndex": kept.created, "ModifyIndex": kept.modified}


def _policy_shape(kept: Kept[Paper] | None) -> dict[str, Any]:
    if kept is None:
        raise Refused(404, "Requested policy does not exist: ACL not found")
    policy = kept.value
    head = {key: policy[key] for key in ("ID", "Name", "Description", "Rules")}
    places = {"Datacenters": policy["Datacenters"]} if policy["Datacenters"] else {}
    return {**head, **places, "Hash": hash_of(policy), "CreateIndex": kept.created, "ModifyIndex": kept.modified}
