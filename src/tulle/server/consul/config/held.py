"""The entries that are in force, followed, so that they are read from memory and readers can wait for the next change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tulle.model.resource import Key, Resource
from tulle.registry.transitions import Refused
from tulle.registry.waiting import Topic, Waiting
from tulle.resources import consul
from tulle.resources.consul import api_name
from tulle.resources.kinds import Kind, kind_of
from tulle.resources.spec import Spec
from tulle.store.document import File, Outcome, Update
from tulle.store.documents import Documents
from tulle.store.port import ConflictError

TOPIC: Topic = ("config",)
NAMESPACE = "default"
GROUP = "consul.hashicorp.com/v1alpha1"
KINDS: Mapping[str, type[Spec]] = {
    api_name(spec.__name__): spec
    for spec in (
        consul.ServiceDefaults,
        consul.ServiceRouter,
        consul.ServiceSplitter,
        consul.ServiceResolver,
        consul.ServiceIntentions,
        consul.ProxyDefaults,
    )
}


class HeldEntries:
    """Every update of the documents is to be given to `take`."""

    def __init__(self, documents: Documents, waiting: Waiting) -> None:
        self._documents = documents
        self._waiting = waiting
        self._revision = 0
        self._advanced = asyncio.Event()
        self.resources: Mapping[Key, Resource[Any]] = {}
        self.index = 1
        """Rises with each change of an entry."""

    def take(self, update: Update) -> None:
        """The documents have changed."""
        if any(key.kind in _NAMES for key in update.changed):
            self.resources = {key: r for key, r in update.in_force.items() if key.kind in _NAMES}
            self.index = update.revision
            self._waiting.changed([(TOPIC, update.revision)])
        self._revision = update.revision
        self._advanced.set()
        self._advanced = asyncio.Event()

    def of(self, kind: str) -> list[Resource[Any]]:
        """The entries of a kind, by name."""
        name = KINDS[kind].__name__
        return [r for key, r in sorted(self.resources.items()) if key.kind == name and key.namespace == NAMESPACE]

    def get(self, kind: str, name: str) -> Resource[Any] | None:
        return self.resources.get(_key(kind, name))

    async def put(self, kind: str, name: str, spec: Mapping[str, Any], expected: int | None = None) -> bool:
        """Puts an entry into force. False where it is at another revision than expected. Raises Refused(400) for one that is not valid."""
        document = {"apiVersion": GROUP, "kind": KINDS[kind].__name__, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
        file = File(path=f"/v1/config/{kind}/{name}", text=json.dumps(document))
        try:
            report = await self._documents.apply([file], expected=None if expected is None else {_key(kind, name): expected})
        except ConflictError:
            return False
        if report.violations:
            said = "; ".join(f"{v.field.removeprefix('spec.')}: {v.message}" if v.field else v.message for v in report.violations)
            raise Refused(400, f"Bad Request: invalid {kind} {name!r}: {said}")
        await self._reached(max((result.revision for result in report.results), default=0))
        return True

    async def delete(self, kind: str, name: str) -> None:
        report = await self._documents.delete([_key(kind, name)])
        if any(result.outcome is Outcome.DELETED for result in report.results):
            await self._reached(report.revision)

    async def _reached(self, revision: int) -> None:
        """Whoever has had an answer reads what it wrote."""
        while self._revision < revision and not self._waiting.closed:
            await self._advanced.wait()


_NAMES = frozenset(spec.__name__ for spec in KINDS.values())


def _key(kind: str, name: str) -> Key:
    known: Kind | None = kind_of(KINDS[kind].__name__)
    return known.key(NAMESPACE, name) if known else Key(kind=kind, namespace=NAMESPACE, name=name)
