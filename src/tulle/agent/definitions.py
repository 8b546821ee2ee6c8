"""The services and checks that a machine's definition files define, kept in the catalog of a control plane that runs elsewhere.

The checks run here, where the services are; what they find is told over Consul's API.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ssl import SSLContext
from typing import Any
from urllib.parse import quote

from tulle.credentials import NOBODY, Credentials
from tulle.http_client import Response, request
from tulle.logs import Log
from tulle.model.frozen import FrozenMap
from tulle.model.service import Health
from tulle.registry import checks
from tulle.registry.catalog import Check, CheckKey, CheckKind, Service
from tulle.registry.checks import Result
from tulle.registry.runner import Runner
from tulle.server.consul.definitions import Definition, DefinitionError, Values

SOURCE = FrozenMap({"external-source": "tulle-agent"})
"""Metadata of what was put in so: what an earlier agent of this machine left there is known by it."""
MARK = "(by a definition file)"
"""Ends the notes of such checks."""
AGAIN = 30.0
"""Seconds between two times that everything is told, whether it changed or not."""
RETRY = 2.0
_log = Log("definitions")


class _Context(Credentials):
    """What another trusts, without what it shows in headers."""

    def __init__(self, of: Credentials) -> None:
        self._of = of

    def context(self) -> SSLContext | None:
        return self._of.context()


@dataclass(kw_only=True)
class RemoteCatalog:
    """`run` runs the checks and tells of them, until it is cancelled."""

    api: str
    trusted: Credentials = NOBODY
    """By what the control plane is known. Tokens are those of the definitions."""
    node: str
    address: str
    clock: Callable[[], float]
    scripts: bool
    _services: dict[str, Service] = field(default_factory=dict)
    _checks: dict[CheckKey, Check] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)
    """By the id of a service, or of a check."""
    _keep_others: bool = True

    def __post_init__(self) -> None:
        self._runner = Runner(self, self.clock, scripts=self.scripts, defined_scripts=self.scripts)
        self._changed = asyncio.Event()

    async def define(self, definitions: Sequence[Definition], *, keep_others: bool) -> Sequence[str]:
        services: dict[str, Service] = {}
        found: dict[CheckKey, Check] = {}
        wrong: list[str] = []
        for definition in definitions:
            try:
                for value in definition.values(self.node, lambda: _ports(self._services | services), scripts=self.scripts):
                    self._take(value, services, found)
            except DefinitionError as error:
                wrong.append(str(error))
        self._services, self._keep_others = services, keep_others
        self._checks = {key: self._as_before(check) for key, check in found.items()}
        self._runner.sync(self._checks.values())
        self._changed.set()
        return wrong

    def _take(self, value: Values, services: dict[str, Service], found: dict[CheckKey, Check]) -> None:
        """Raises DefinitionError."""
        for check in value.checks:
            if check.probe.kind is CheckKind.TTL:
                raise value.definition.wrong("a ttl check can be told of at the control plane's own machine only: use another kind here")
            if check.service_id and value.service is None and check.service_id not in services:
                raise value.definition.wrong(f'ServiceID "{check.service_id}" does not exist')
        if value.service:
            services[value.service.id] = value.service
        found |= {check.key: check for check in value.checks}
        for identifier in (*(check.id for check in value.checks), *([value.service.id] if value.service else [])):
            self._tokens[identifier] = value.definition.token

    def _as_before(self, check: Check) -> Check:
        known = self._checks.get(check.key)
        return _with(check, known.status, known.output) if known else check

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._runner.run())
            while True:
                self._changed.clear()
                pause = await self._tell_all()
                try:
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _tell_all(self) -> float:
        """Seconds until it is to be told again."""
        try:
            for service in list(self._services.values()):
                # With its checks, so that it is never given out before they have spoken.
                own = [_check(check) for check in self._checks.values() if check.service_id == service.id]
                await self._put("register", {"Service": _service(service), "Checks": own}, self._tokens.get(service.id, ""))
            for check in [check for check in self._checks.values() if not check.service_id]:
                await self._tell(check)
            if not self._keep_others:
                await self._clear()
        except OSError as error:
            _log.warning("definitions cannot be told", api=self.api, error=str(error) or type(error).__name__)
            return RETRY
        return AGAIN

    async def clear(self) -> None:
        """Takes everything out, as far as the control plane is there."""
        await self.define((), keep_others=False)
        with contextlib.suppress(OSError):
            await self._clear()

    async def _clear(self) -> None:
        """Takes out what files of this machine defined before, and none does now."""
        there = await self._told_of(f"/v1/catalog/node/{quote(self.node, safe='')}") or {}
        for identifier, service in (there.get("Services") or {}).items():
            if service["Meta"].items() >= SOURCE.items() and identifier not in self._services:
                await self._put("deregister", {"ServiceID": identifier}, self._tokens.get(identifier, ""))
        for check in await self._told_of(f"/v1/health/node/{quote(self.node, safe='')}") or []:
            own = check["Notes"].endswith(MARK) and (self.node, check["CheckID"]) not in self._checks
            if own:
                await self._put("deregister", {"CheckID": check["CheckID"]}, self._tokens.get(check["CheckID"], ""))

    async def _tell(self, check: Check) -> None:
        await self._put("register", {"Check": _check(check)}, self._tokens.get(check.id, ""))

    async def _put(self, verb: str, body: Mapping[str, Any], token: str) -> None:
        """Raises OSError."""
        at = {"Address": self.address, "SkipNodeUpdate": True} if verb == "register" else {}
        headers = {"x-consul-token": token} if token else {}
        data = json.dumps({"Node": self.node, **at, **body}).encode()
        answer = await self._ask("PUT", f"/v1/catalog/{verb}", data, headers)
        if answer.status != 200:
            raise ConnectionError(f"the control plane answered {answer.status}: {answer.text()[:200]}")

    async def _told_of(self, path: str) -> Any:
        """None where there is nothing. Raises OSError."""
        answer = await self._ask("GET", path)
        try:
            return answer.json() if answer.status == 200 else None
        except ValueError:
            raise ConnectionError("what answers is no control plane") from None

    async def _ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
        return await request(self.api, method, path, body=body, headers=headers, credentials=_Context(self.trusted))

    # What the checks find

    async def told(self, check: Check, status: Health, output: str) -> None:
        known = self._checks.get(check.key)
        if known is None:
            return
        turned = known.status is not status
        self._checks[check.key] = _with(known, status, output)
        if turned:
            try:
                await self._tell(self._checks[check.key])
            except OSError:
                self._changed.set()

    async def take_out(self, check: Check) -> None:
        self._services.pop(check.service_id, None)
        self._checks = {key: other for key, other in self._checks.items() if other.service_id != check.service_id}
        self._changed.set()

    def alias(self, check: Check) -> Result:
        of = check.probe.alias_service
        found = (other for other in self._checks.values() if other.service_id == of and other.key != check.key)
        return checks.of_alias(found, known=not of or of in self._services)


def _with(check: Check, status: Health, output: str) -> Check:
    return replace(check, status=status, output=output)


def _service(service: Service) -> dict[str, Any]:
    return {
        "ID": service.id,
        "Service": service.name,
        "Tags": list(service.tags),
        "Address": service.address,
        "Port": service.port,
        "Meta": {**service.meta, **SOURCE},
        "TaggedAddresses": {name: {"Address": a.address, "Port": a.port} for name, a in service.tagged_addresses.items()},
        "Weights": {"Passing": service.passing_weight, "Warning": service.warning_weight},
        "EnableTagOverride": service.enable_tag_override,
        "Kind": service.kind,
        "SocketPath": service.socket_path,
        **{name: json.loads(text) for name, text in (("Proxy", service.proxy), ("Connect", service.connect)) if text},
        **({"Locality": json.loads(service.locality)} if service.locality else {}),
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "CheckID": check.id,
        "Name": check.name,
        "Status": check.status.value,
        "Notes": f"{check.notes} {MARK}".strip(),
        "Output": check.output,
        "ServiceID": check.service_id,
        "Type": check.type,
    }


def _ports(services: Mapping[str, Service]) -> dict[str, int]:
    return {identifier: service.port for identifier, service in services.items()}
