"""Definition files: services and checks, as files of Consul's agents word them.

    service {
      name = "web"
      port = 8080
      check { ... }
    }
    {"services": [{"name": "web", "port": 8080}], "checks": [{"name": "disk", "args": ["/bin/check-disk"], "interval": "1m"}]}

JSON and HCL, told apart by the file's name. Keys in any case, CamelCase or snake_case. Pure: text in, values out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tulle.registry.catalog import Check, Service
from tulle.registry.transitions import Refused
from tulle.resources import yaml
from tulle.server.consul import entering
from tulle.server.consul.body import Body, folded

SERVICES, CHECKS = ("service", "services"), ("check", "checks")
SERVICE_FIELDS = frozenset(
    {
        "id", "name", "address", "port", "tags", "meta", "taggedaddresses", "socketpath", "enabletagoverride", "check", "checks",
        "kind", "proxy", "connect", "weights", "token", "locality",
    }
)  # fmt: skip
CHECK_FIELDS = frozenset(
    {
        "id", "checkid", "name", "notes", "serviceid", "status", "token", "args", "scriptargs", "interval", "timeout", "ttl",
        "http", "method", "header", "body", "disableredirects", "tcp", "tcpusetls", "udp", "grpc", "grpcusetls", "h2ping",
        "h2pingusetls", "tlsservername", "tlsskipverify", "aliasnode", "aliasservice", "osservice", "outputmaxsize",
        "successbeforepassing", "failuresbeforewarning", "failuresbeforecritical", "deregistercriticalserviceafter", "script",
        "dockercontainerid",
    }
)  # fmt: skip
_HEREDOC = re.compile(r"<<(-?)(\w+)\n(.*\n|)\s*\2", re.DOTALL)
_NOT_IN_FORCE = "not in force: only service, services, check and checks are read from definition files"
_LISTS = frozenset(["services", "checks", "upstreams", "paths"])
"""What stays a list of blocks; any other block stands for itself."""


class DefinitionError(ValueError):
    """A file that cannot be used."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A service with its checks, or a check, and where it is written."""

    path: str
    line: int
    is_service: bool
    given: Mapping[str, Any]

    @property
    def body(self) -> Body:
        return Body(self.given)

    @property
    def token(self) -> str:
        return self.body.text("Token")

    def wrong(self, message: str) -> DefinitionError:
        return DefinitionError(self.path, self.line, message)

    def values(self, node: str, ports: entering.Ports, *, scripts: bool) -> Iterator[Values]:
        """What it puts into the catalog of a node. Raises DefinitionError."""
        try:
            yield from self._values(node, ports, scripts=scripts)
        except Refused as refused:
            raise self.wrong(refused.message) from None

    def _values(self, node: str, ports: entering.Ports, *, scripts: bool) -> Iterator[Values]:
        body = self.body
        if not self.is_service:
            yield Values(definition=self, checks=(_marked(_check(body, node, scripts=scripts)),))
            return
        service = replace(entering.service(body, node), defined=True)
        checks = entering.checks_of_service(body, service, scripts=scripts)
        yield Values(definition=self, service=service, checks=tuple(map(_marked, checks)))
        if beside := entering.sidecar(body, service, ports, scripts=scripts):
            yield Values(definition=self, service=replace(beside[0], defined=True), checks=tuple(map(_marked, beside[1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    definition: Definition
    service: Service | None = None
    checks: tuple[Check, ...] = ()


def _marked(check: Check) -> Check:
    return replace(check, defined=True)


def _check(body: Body, node: str, *, scripts: bool) -> Check:
    name = body.text("Name")
    if not name:
        raise Refused(400, "Missing check name")
    return entering.check(body, node, body.text("CheckID", "ID") or name, name, body.text("ServiceID"), scripts=scripts)


def read(path: str, text: str, node: str, *, scripts: bool) -> tuple[tuple[Definition, ...], tuple[str, ...]]:
    """The definitions in a file, and warnings. Raises DefinitionError at the first that cannot be used."""
    document, lines = _hcl(path, text) if path.endswith(".hcl") else _json(path, text)
    if not isinstance(document, dict):
        raise DefinitionError(path, 1, "must be an object with service, services, check or checks")
    found: list[Definition] = []
    warnings: list[str] = []
    for key, value in document.items():
        if folded(key) not in (*SERVICES, *CHECKS):
            warnings.append(
                f"{path}:{lines(key)}: {key}: not in force: only service, services, check and checks are read from definition files"
            )
            continue
        for place, given in _items(key, value):
            found.append(_definition(path, place, lines, given, is_service=folded(key) in SERVICES))
    for definition in found:
        for _ in definition.values(node, dict, scripts=scripts):
            continue
    return tuple(found), tuple(warnings)


def _items(key: str, value: object) -> Iterable[tuple[str, object]]:
    return ((f"{key}[{i}]", item) for i, item in enumerate(value)) if isinstance(value, list) else ((key, value),)


def _definition(path: str, place: str, lines: Callable[[str], int], given: object, *, is_service: bool) -> Definition:
    if not isinstance(given, dict):
        raise DefinitionError(path, lines(place), f"{place} must be an object")
    known = SERVICE_FIELDS if is_service else CHECK_FIELDS
    for name in given:
        if folded(name) not in known:
            raise DefinitionError(path, lines(f"{place}.{name}"), f"{place}: unknown field {name!r}")
    for name, value in given.items() if is_service else ():
        if folded(name) in CHECKS:
            for below, check in _items(f"{place}.{name}", value):
                _definition(path, below, lines, check, is_service=False)
    return Definition(path=path, line=lines(place), is_service=is_service, given=given)


# JSON


def _json(path: str, text: str) -> tuple[object, Callable[[str], int]]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DefinitionError(path, error.lineno, f"is no JSON: {error.msg}") from None
    except RecursionError:
        raise DefinitionError(path, 1, "is nested too deeply") from None

    def line(place: str) -> int:
        # Only whoever has to be told of a line pays for finding it. What is JSON is YAML too, but for tabs.
        known = next(yaml.load(text.replace("\t", " "))).lines
        return known.get(place, known.get(place.rpartition(".")[0], 1))

    return document, line


# HCL


def _hcl(path: str, text: str) -> tuple[object, Callable[[str], int]]:
    import hcl2  # noqa: PLC0415 - its parser takes a while to load, and few need it
    from hcl2.utils import SerializationOptions  # noqa: PLC0415
    from lark.exceptions import LarkError  # noqa: PLC0415

    options = SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)
    try:
        document = hcl2.loads(text if text.endswith("\n") else text + "\n", serialization_options=options)
    except LarkError as error:
        place, unexpected = (
            max(0, getattr(error, "line", 0)),
            str(getattr(error, "token", None) or getattr(error, "char", "") or "end").strip(),
        )
        raise DefinitionError(path, place, f"is no HCL: {unexpected!r} is not expected here") from None
    starts = list(_blocks(text))

    def of(place: str) -> int:
        key, _, rest = place.partition("[")
        number = rest.partition("]")[0]
        of_key = [at for name, at in starts if name == key.partition(".")[0]]
        return of_key[min(int(number or 0), len(of_key) - 1)] if of_key else 1

    return {key: _plain(value, top=True) for key, value in document.items()}, of


def _blocks(text: str) -> Iterator[tuple[str, int]]:
    """The words that begin something at the outermost level, with their lines."""
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r'"(?:\\.|[^"\\])*"|#.*|//.*', "", line)
        if depth == 0 and (word := re.match(r"\s*(\w+)", bare)):
            yield word[1], number
        depth += sum(bare.count(c) for c in "{[") - sum(bare.count(c) for c in "}]")


def _plain(value: Any, *, top: bool = False) -> Any:
    """Blocks come as lists of objects: one block stands for itself. Texts over several lines come as they are written."""
    if isinstance(value, dict):
        return {key: _plain(item, top=folded(key) in _LISTS) for key, item in value.items()}
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return items[0] if len(items) == 1 and isinstance(items[0], dict) and not top else items
    if isinstance(value, str) and (heredoc := _HEREDOC.fullmatch(value)):
        lines = heredoc[3].splitlines(keepends=True)
        margin = min((len(li) - len(li.lstrip()) for li in lines if li.strip()), default=0) if heredoc[1] else 0
        return "".join(li[margin:] for li in lines)
    return value
