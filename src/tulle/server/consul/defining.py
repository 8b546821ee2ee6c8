"""A directory of definition files, kept in force: what they define is in the catalog, and what they no longer define leaves it.

A file that cannot be read or used is told of, with its line; what it last defined stays. The other files go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tulle.logs import Log
from tulle.registry import transitions
from tulle.registry.catalog import Check, Service
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.server.consul.definitions import Definition, DefinitionError, Values, read

LOOK = 1.0
"""Seconds between looks at the directory."""
SUFFIXES = (".json", ".hcl")
_log = Log("definitions")


class Catalog(Protocol):
    """Where definitions are put."""

    async def define(self, definitions: Sequence[Definition], *, keep_others: bool) -> Sequence[str]:
        """From now on these, and of those that files defined before no others, unless `keep_others`. What could not be done."""
        ...


class Definitions:
    """`run` keeps a directory in force until it is cancelled."""

    def __init__(self, directory: Path, catalog: Catalog, node: str, *, scripts: bool) -> None:
        """`scripts`: whether checks may run programs. Raises NotADirectoryError."""
        if not directory.is_dir():
            raise NotADirectoryError(f"{directory} is no directory: definition files are read from there (--config-dir)")
        self._directory = directory
        self._catalog = catalog
        self._node = node
        self._scripts = scripts
        self._good: dict[Path, tuple[Definition, ...]] = {}
        self._texts: dict[Path, str] = {}
        self._told: tuple[str, ...] = ()

    async def run(self) -> None:
        seen: object = None
        while True:
            now = self._signature()
            if now != seen:
                seen = await self._reloaded(now)
            await asyncio.sleep(LOOK)

    async def _reloaded(self, now: object) -> object:
        """`now` when the files are in force; None when that is to be tried again."""
        try:
            await self.reload()
        except Exception:  # noqa: BLE001 - the pump: whatever a file brings about, the rest goes on
            _log.exception("definition files cannot be put into force")
            return None
        return now

    def _files(self) -> list[Path]:
        """Ordered by name, as later ones go before earlier ones."""
        return sorted(path for path in self._directory.iterdir() if path.suffix in SUFFIXES and path.is_file())

    def _signature(self) -> object:
        try:
            return [(path, (stat := path.stat()).st_mtime_ns, stat.st_size, stat.st_ino) for path in self._files()]
        except OSError:
            return None

    async def reload(self) -> tuple[str, ...]:
        """Reads the files, and puts what they say into force. Returns what is wrong, a sentence each."""
        wrong: list[str] = []
        files = self._listed(wrong)
        for path in files:
            self._read(path, wrong)
        for path in self._good.keys() - set(files):
            del self._good[path]
            self._texts.pop(path, None)
        definitions = [definition for path in files for definition in self._good.get(path, ())]
        wrong += await self._catalog.define(definitions, keep_others=any(path not in self._good for path in files))
        for problem in dict.fromkeys(wrong):
            if problem not in self._told:
                _log.warning("a definition is not in force", error=problem)
        self._told = tuple(wrong)
        return self._told

    def _listed(self, wrong: list[str]) -> list[Path]:
        try:
            return self._files()
        except OSError as error:
            wrong.append(f"{self._directory}: {error.strerror}")
            return list(self._good)

    def _read(self, path: Path, wrong: list[str]) -> None:
        try:
            text = path.read_text(encoding="utf-8")
            if path in self._good and text == self._texts.get(path):
                return
            definitions, warnings = read(str(path), text, self._node, scripts=self._scripts)
        except DefinitionError as error:
            wrong.append(str(error))
        except (OSError, UnicodeDecodeError) as error:
            wrong.append(f"{path}: {getattr(error, 'strerror', None) or error}")
        else:
            self._good[path], self._texts[path] = definitions, text
            for warning in warnings:
                _log.warning("a part of a file is not in force", warning=warning)


class OwnCatalog:
    """The registry of this very process: definitions belong to its own node."""

    def __init__(self, registry: Registry, *, scripts: bool) -> None:
        self._registry = registry
        self._scripts = scripts

    async def define(self, definitions: Sequence[Definition], *, keep_others: bool) -> Sequence[str]:
        wrong: list[str] = []

        def decide(tables: Tables) -> Sequence[Write]:
            wrong.clear()
            values, problems = resolved(definitions, tables, self._registry.node.name, scripts=self._scripts)
            wrong.extend(problems)
            return _defining(tables, self._registry, values, keep_others=keep_others)

        await self._registry.change(decide)
        return wrong


def resolved(definitions: Iterable[Definition], tables: Tables, node: str, *, scripts: bool) -> tuple[list[Values], list[str]]:
    """The values of definitions, the later ones in place of earlier ones with the same id; and what is wrong with the rest."""
    services: dict[str, Values] = {}
    checks: dict[str, Values] = {}
    wrong: list[str] = []
    taken = {kept.value.id: kept.value.port for kept in tables.services_on(node)}
    for definition in definitions:
        try:
            for value in definition.values(node, lambda: taken, scripts=scripts):
                if value.service:
                    services[value.service.id] = value
                    taken[value.service.id] = value.service.port
                else:
                    checks[value.checks[0].id] = value
        except DefinitionError as error:
            wrong.append(str(error))
    for identifier, value in list(checks.items()):
        of = value.checks[0].service_id
        if of and of not in services and (node, of) not in tables.services:
            wrong.append(str(value.definition.wrong(f'ServiceID "{of}" does not exist')))
            del checks[identifier]
    return [*services.values(), *checks.values()], wrong


def _defining(tables: Tables, registry: Registry, values: Sequence[Values], *, keep_others: bool) -> list[Write]:
    entering: dict[str, Service] = {value.service.id: value.service for value in values if value.service}
    writes: list[Write] = []
    for value in values:
        if value.service:
            writes += transitions.register(tables, registry.node, value.service, value.checks)
        else:
            writes += _one_check(tables, value.checks[0], entering)
    return writes if keep_others else writes + _leaving(tables, registry.node.name, values)


def _one_check(tables: Tables, check: Check, entering: dict[str, Service]) -> list[Write]:
    return transitions.enter_check(tables, transitions.as_before(tables, check), entering.get(check.service_id))


def _leaving(tables: Tables, node: str, values: Sequence[Values]) -> list[Write]:
    """What files defined before, and none does now."""
    services = {value.service.id for value in values if value.service}
    checks = {check.id for value in values for check in value.checks}
    writes: list[Write] = []
    for service in tables.services_on(node):
        if service.value.defined and service.value.id not in services:
            writes += transitions.leave_service(tables, service.value.key, keep=checks)
    for identifier in sorted(tables.checks_of_node.get(node, ())):
        check = tables.checks[node, identifier].value
        if check.defined and identifier not in checks:
            writes += transitions.leave_check(tables, check)
    return writes
