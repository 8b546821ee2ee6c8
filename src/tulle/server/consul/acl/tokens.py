"""`/v1/acl/token`: secrets are told once, when their token is made: only their hashes are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tulle.registry.acl.authorities import ANONYMOUS_TOKEN, Authorities, Paper, digest
from tulle.registry.acl.authority import ANONYMOUS
from tulle.registry.acl.builtin import GLOBAL_MANAGEMENT
from tulle.registry.catalog import Kept
from tulle.registry.transitions import Refused
from tulle.registry.waiting import Topic
from tulle.server.consul.acl import identities
from tulle.server.consul.acl.papers import Papers, hash_of
from tulle.server.consul.app import Route
from tulle.server.consul.body import Body
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

HIDDEN = "<hidden>"
_TOPICS: tuple[Topic, ...] = (("acl",),)


class TokenApi:
    def __init__(self, papers: Papers, authorities: Authorities, node: str) -> None:
        self._papers = papers
        self._authorities = authorities
        self._node = node

    def routes(self) -> Sequence[Route]:
        table = (
            ("PUT", "bootstrap", self.bootstrap),
            ("GET", "replication", self.replication),
            ("PUT", "token", self.create),
            ("GET", "token/self", self.own),
            ("GET", "token/", self.one),
            ("PUT", "token/", self.update),
            ("DELETE", "token/", self.delete),
            ("GET", "tokens", self.all),
        )
        return [Route(method=method, path=f"/v1/acl/{path}", handler=handler) for method, path, handler in table]

    async def bootstrap(self, ask: Ask) -> Reply:
        """Makes the first token that may do everything. It can be done once."""
        given = ask.json().text("BootstrapSecret") if ask.body.strip() else ""
        if given:
            identities.check_uuid(given, "BootstrapSecret")
        secret, accessor = given or self._papers.new_id(), self._papers.new_id()

        def once(kept: Kept[Paper] | None) -> Paper:
            if kept:
                raise Refused(403, f"Permission denied: ACL bootstrap no longer allowed (reset index: {kept.modified})")
            return {"Accessor": accessor}

        await self._papers.write("bootstrap", "done", once)
        paper = identities.fresh(accessor, secret, "Bootstrap Token (Global Management)")
        made = await self._papers.write("token", accessor, lambda _: {**paper, "Policies": [{"ID": GLOBAL_MANAGEMENT}]})
        return Reply(value=self._shape(made, secret))

    def replication(self, _: Ask) -> Reply:
        never = "0001-01-01T00:00:00Z"
        state = {"Enabled": False, "Running": False, "SourceDatacenter": "", "ReplicationType": ""}
        counts = {"ReplicatedIndex": 0, "ReplicatedRoleIndex": 0, "ReplicatedTokenIndex": 0}
        return Reply(value={**state, **counts, "LastSuccess": never, "LastError": never, "LastErrorMessage": ""})

    async def create(self, ask: Ask) -> Reply:
        body = ask.json() if ask.body.strip() else Body({})
        accessor, secret = body.text("AccessorID") or self._papers.new_id(), body.text("SecretID") or self._papers.new_id()
        identities.check_uuid(accessor, "AccessorID")
        identities.check_uuid(secret, "SecretID")
        paper = self._papers.linked(body, identities.fresh(accessor, secret, body.text("Description")))
        paper |= {"Local": body.flag("Local"), **identities.expiration(body)}
        return await self._make(accessor, secret, paper)

    async def _make(self, accessor: str, secret: str, paper: Paper) -> Reply:
        def alone(kept: Kept[Paper] | None) -> Paper:
            if kept or accessor == ANONYMOUS:
                raise Refused(500, "Invalid Token: AccessorID is already in use")
            if any(other.value.get("SecretHash") == paper["SecretHash"] for other in self._papers.tables["token"].values()):
                raise Refused(500, "Invalid Token: SecretID is already in use")
            return paper

        made = await self._papers.write("token", accessor, alone)
        await self._forget_old()
        return Reply(value=self._shape(made, secret))

    async def _forget_old(self) -> None:
        """Tokens whose time is over go when others come."""
        for old in [accessor for accessor, kept in self._papers.tables["token"].items() if self._authorities.is_over(kept.value)]:
            await self._papers.write("token", old, lambda _: None)

    async def update(self, ask: Ask) -> Reply:
        accessor, _, verb = ask.rest.partition("/")
        if verb == "clone":
            return await self._clone(ask, accessor)
        before, body = self._known(ask.rest).value, ask.json()
        if body.text("AccessorID") not in ("", accessor):
            raise Refused(400, "The token Accessor ID in the URL and payload do not match")
        secret = body.text("SecretID")
        if secret not in ("", HIDDEN) and digest(secret) != before.get("SecretHash"):
            raise Refused(500, "Changing a token's SecretID is not permitted")
        after = self._papers.linked(body, {**before, "Description": body.text("Description")})
        return Reply(value=self._shape(await self._papers.write("token", accessor, lambda _: after), secret))

    async def _clone(self, ask: Ask, accessor: str) -> Reply:
        before = self._known(accessor).value
        if accessor == ANONYMOUS:
            raise Refused(500, "Cannot clone the anonymous token")
        body = ask.json() if ask.body.strip() else Body({})
        fresh, secret = self._papers.new_id(), self._papers.new_id()
        new = identities.fresh(fresh, secret, body.text("Description") or before["Description"])
        return await self._make(fresh, secret, {**before, **{k: new[k] for k in ("AccessorID", "SecretHash", "Description", "CreateTime")}})

    async def delete(self, ask: Ask) -> Reply:
        if ask.rest == ANONYMOUS:
            raise Refused(500, "Delete operation not permitted on the anonymous token")
        if ask.rest == ask.authority.accessor:
            raise Refused(500, "Deletion of the request's authorization token is not permitted")
        await self._papers.write("token", ask.rest, lambda _: None)
        return TRUE_REPLY

    def own(self, ask: Ask) -> Found:
        secret = ask.secret

        def look() -> Reply:
            token = self._authorities.token(secret)
            return Reply(value=self._shape(self._known(token["AccessorID"]), secret))

        return Found(topics=_TOPICS, look=look)

    def one(self, ask: Ask) -> Found:
        def look() -> Reply:
            shape = self._shape(self._known(ask.rest))
            return Reply(value={**shape, **self._expanded(shape)} if ask.flag("expanded") else shape)

        return Found(topics=_TOPICS, look=look)

    def all(self, ask: Ask) -> Found:
        policy, role, service, method = (ask.get(name) for name in ("policy", "role", "servicename", "authmethod"))

        def is_meant(token: Paper) -> bool:
            return (
                (not policy or any(link["ID"] == policy for link in token["Policies"]))
                and (not role or any(link["ID"] == role for link in token["Roles"]))
                and (not service or any(i["ServiceName"] == service for i in token["ServiceIdentities"]))
                and not method
                and not self._authorities.is_over(token)
            )

        def look() -> Reply:
            held = dict(self._papers.tables["token"])
            held.setdefault(ANONYMOUS, Kept(value=ANONYMOUS_TOKEN, created=1, modified=1))
            return Reply(value=[self._shape(held[accessor]) for accessor in sorted(held) if is_meant(held[accessor].value)])

        return Found(topics=_TOPICS, look=look)

    def _known(self, accessor: str) -> Kept[Paper]:
        kept = self._papers.tables["token"].get(accessor)
        if kept is None and accessor == ANONYMOUS:
            return Kept(value=ANONYMOUS_TOKEN, created=1, modified=1)
        if kept is None or self._authorities.is_over(kept.value):
            raise Refused(404, "token does not exist: ACL not found")
        return kept

    def _shape(self, kept: Kept[Paper] | None, secret: str = "") -> dict[str, Any]:
        """`secret` where the one who asks knows it."""
        if kept is None:
            raise Refused(404, "token does not exist: ACL not found")
        token = kept.value
        shown = "anonymous" if token["AccessorID"] == ANONYMOUS else secret or HIDDEN
        end = {"ExpirationTime": token["ExpirationTime"]} if token.get("ExpirationTime") else {}
        return {
            "AccessorID": token["AccessorID"],
            "SecretID": shown,
            "Description": token["Description"],
            **self._papers.links(token),
            "Local": token["Local"],
            **end,
            "CreateTime": token["CreateTime"],
            "Hash": hash_of(token),
            "CreateIndex": kept.created,
            "ModifyIndex": kept.modified,
        }

    def _expanded(self, shape: dict[str, Any]) -> dict[str, Any]:
        policies = (self._authorities.policy(link["ID"]) for link in shape.get("Policies", ()))
        return {
            "ExpandedPolicies": [dict(policy) for policy in policies if policy],
            "ExpandedRoles": [self._papers.tables["role"][link["ID"]].value for link in shape.get("Roles", ())],
            "NamespaceDefaultPolicyIDs": None,
            "NamespaceDefaultRoleIDs": None,
            "AgentACLDefaultPolicy": "allow" if self._authorities.default else "deny",
            "AgentACLDownPolicy": "extend-cache",
            "ResolvedByAgent": self._node,
        }
