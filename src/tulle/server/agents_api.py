"""`/api/v1/agents`: agents say that they live, and what their proxies have ejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.model.plain_text import MOST_TOLD
from tulle.registry.agents import Agent, Agents, Callers, Calls, Ejection, PlainCaller, Report, Shown
from tulle.registry.form import RegistrationError, check_id
from tulle.registry.registry import Registry
from tulle.server.access.caller import Caller, caller_of
from tulle.server.forms import answer, body_of, problem

BODY_LIMIT = 1024 * 1024
Text = Annotated[str, Field(max_length=300)]


def _moment(text: str) -> str:
    if text and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


Moment = Annotated[Text, AfterValidator(_moment)]
"""As ISO 8601; empty for never."""
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=0, le=2**64)]
"""As large as what proxies count with."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class _Ejection(_Form):
    cluster: Text
    address: Text
    port: Port
    reason: Text = ""
    since: Text = ""


class _Callers(_Form):
    port: Port
    mutual: Count = 0
    plain: Count = 0
    last: Moment = ""
    refused: Count = 0
    failed: Count = 0
    requests: Count = 0
    errors: Count = 0


class _PlainCaller(_Form):
    port: Port
    address: Annotated[str, Field(pattern=r"^[0-9A-Fa-f:.]{2,45}(%[0-9A-Za-z_]{1,16})?$")]
    calls: Count = 0
    refused: Count = 0
    last: Annotated[Moment, Field(min_length=1)]


class _Calls(_Form):
    cluster: Text
    unreached: Count = 0
    errors: Count = 0


class _Shown(_Form):
    serial: Text
    names: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    not_before: Text
    not_after: Text


class _Report(_Form):
    node: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    address: Text = "127.0.0.1"
    ejected: Annotated[tuple[_Ejection, ...], Field(max_length=10_000)] = ()
    callers: Annotated[tuple[_Callers, ...], Field(max_length=1000)] = ()
    plain: Annotated[tuple[_PlainCaller, ...], Field(max_length=MOST_TOLD)] = ()
    calls: Annotated[tuple[_Calls, ...], Field(max_length=1000)] = ()
    certificates: Annotated[tuple[_Shown, ...], Field(max_length=200)] = ()
    holds: Text = ""

    def report(self, identifier: str) -> Report:
        return Report(
            id=identifier,
            node=self.node,
            address=self.address,
            ejected=tuple(Ejection(**one.model_dump()) for one in self.ejected),
            callers=tuple(Callers(**one.model_dump()) for one in self.callers),
            plain=tuple(PlainCaller(**one.model_dump()) for one in self.plain),
            calls=tuple(Calls(**one.model_dump()) for one in self.calls),
            certificates=tuple(Shown(**one.model_dump()) for one in self.certificates),
            holds=self.holds,
        )


class AgentsApi:
    def __init__(self, agents: Agents, registry: Registry, held: Callable[[], str] = str) -> None:
        """`held`: a fingerprint of what machines that have joined are to hold of the mesh's authority."""
        self._held = held
        self._agents = agents
        self._registry = registry
        self._owners: dict[str, tuple[tuple[str, ...], str]] = {}
        """By agent, the namespaces and the account of the token that it reports with, where that is not for all."""

    def routes(self) -> list[Route]:
        one = "/api/v1/agents/{id:path}"
        return [
            Route("/api/v1/agents", self.list, methods=["GET"]),
            Route(one, self.put, methods=["PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        if caller_of(request).namespaces:
            raise problem(403, "agents are about the whole mesh, and this token is for some namespaces")
        known = self._agents.known
        return answer({"agents": [self._shown(known[identifier]) for identifier in sorted(known)]})

    def _shown(self, agent: Agent) -> dict[str, Any]:
        quiet = self._registry.clock() - agent.life.heard
        heard = datetime.fromtimestamp(self._registry.now() - quiet, UTC)
        return {
            "id": agent.report.id,
            "node": agent.node,
            "address": agent.report.address,
            "state": agent.life.state.value,
            "heard": heard.isoformat(timespec="seconds"),
            "ejected": [ejection_json(ejection) for ejection in agent.report.ejected],
            "callers": [asdict(counted) for counted in agent.report.callers],
        }

    async def put(self, request: Request) -> Response:
        """A report, to be repeated after so many seconds as the answer says. An agent of which nothing is heard for a while has failed."""
        identifier = request.path_params["id"]
        try:
            check_id(identifier)
            form = _Report.model_validate_json(await body_of(request, BODY_LIMIT))
        except (ValidationError, RegistrationError) as error:
            raise problem(400, f"the report of {identifier[:60]!r} cannot be used: {_said(error)}") from None
        self._check(caller_of(request), identifier)
        await self._agents.heard(form.report(identifier))
        outdated = bool(form.holds) and form.holds != self._held()
        return answer({"id": identifier, "every": self._agents.every, **({"outdated": True} if outdated else {})})

    async def delete(self, request: Request) -> Response:
        """An agent ends in order. With the last one of a machine, its node goes."""
        identifier = request.path_params["id"]
        self._check(caller_of(request), identifier)
        self._owners.pop(identifier, None)
        if not await self._agents.left(identifier):
            raise problem(404, f"there is no agent {identifier!r}")
        return answer({"id": identifier})

    def _check(self, caller: Caller, identifier: str) -> None:
        """Who may not speak for all speaks only for agents that nobody spoke for before. Raises 403."""
        own = (caller.namespaces, caller.service_account)
        if identifier not in self._agents.known:  # it was given up: its name is free again
            self._owners.pop(identifier, None)
        if not caller.namespaces:
            self._owners.pop(identifier, None)
        elif self._owners.get(identifier, own) != own or (identifier not in self._owners and identifier in self._agents.known):
            raise problem(403, f"the agent {identifier!r} is another's")
        else:
            self._owners[identifier] = own


def _said(error: ValidationError | RegistrationError) -> str:
    if isinstance(error, RegistrationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def ejection_json(ejection: Ejection) -> dict[str, Any]:
    return {
        "cluster": ejection.cluster,
        "address": ejection.address,
        "port": ejection.port,
        "reason": ejection.reason,
        "since": ejection.since,
    }
