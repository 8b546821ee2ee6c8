"""Keeps all Certificates: one piece of work for each, as long as its document is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from random import random
from typing import cast
from urllib.parse import quote, unquote

from tulle.logs import Log
from tulle.model.challenges import Challenge
from tulle.model.resource import Key, Resource, Status
from tulle.reach import ANYWHERE, Reach
from tulle.resources.security import Certificate
from tulle.server.acme.accounts import StoredAccounts
from tulle.server.acme.progress import Progress, dump, load
from tulle.server.acme.told import Picture, status
from tulle.server.acme.work import AGAIN, Gateways, Means, Work, secret_of
from tulle.store.document import Update
from tulle.store.documents import Documents
from tulle.store.port import Store, StoreError

PREFIX = "acme/certificates/"
KIND = "Certificate"
AT_ONCE = 8
"""So many Certificates are worked on at a time."""
_log = Log("certificates")


class Keeper:
    """`published` is told whenever gateways are to answer something else."""

    def __init__(
        self,
        store: Store,
        documents: Documents,
        gateways: Gateways,
        published: Callable[[tuple[Challenge, ...]], None],
        *,
        reach: Reach = ANYWHERE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        luck: Callable[[], float] = random,
    ) -> None:
        """`reach`: where authorities may be."""
        self._store, self._published, self._now = store, published, now
        accounts = StoredAccounts(store, documents, reach)
        self._means = Means(
            documents=documents,
            gateways=gateways,
            accounts=accounts,
            now=now,
            luck=luck,
            keep=self._keep,
            room=asyncio.Semaphore(AT_ONCE),
        )
        self._wanted: Mapping[Key, Resource[Certificate]] = {}
        """From the oldest."""
        self._work: dict[Key, Work] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._shown: tuple[Challenge, ...] = ()

    def take(self, update: Update) -> None:
        """Documents changed."""
        if any(key.kind in (KIND, "Secret") for key in update.changed):
            found = {key: cast("Resource[Certificate]", r) for key, r in update.in_force.items() if key.kind == KIND}
            self._wanted = dict(sorted(found.items(), key=lambda item: item[1].created))
            self._changed.set()

    def stir(self) -> None:
        """What gateways can answer may have changed."""
        for work in self._work.values():
            if work.blocked:
                work.stir()

    async def run(self) -> None:
        """Until it is cancelled. To be begun once `take` was told of the documents."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                try:
                    await self._follow(group)
                except StoreError as error:
                    _log.warning("the store cannot be used; tried again soon", error=str(error))
                    await asyncio.sleep(AGAIN.total_seconds())
                    continue
                await self._changed.wait()

    async def renew(self, key: Key) -> bool:
        """A new certificate is wanted now. False where there is no such document. Raises StoreError."""
        if (work := self._work.get(key)) is None:
            return False
        await work.renew()
        return True

    def status(self, key: Key) -> Status:
        """Empty for a document that is not kept (yet)."""
        if (work := self._work.get(key)) is None:
            return Status()
        picture = Picture(
            document=work.document,
            wanted=work.wanted,
            progress=work.progress,
            blocked=work.blocked,
            held=work.held,
            secret=work.secret,
            now=self._now(),
        )
        return status(picture)

    def ends(self) -> Iterator[tuple[Key, datetime]]:
        """Of each that an authority gave, when it ends."""
        return ((key, work.progress.issued.not_after) for key, work in self._work.items() if work.progress.issued)

    def secret(self, key: Key) -> Key | None:
        """Of the Secret that a Certificate is put into."""
        work = self._work.get(key)
        return work.secret if work else None

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Begins the work that is new, ends the work whose document is gone, and tells the rest what changed."""
        found = self._wanted
        for key in [key for key in self._work if key not in found]:
            del self._work[key]
            self._tasks.pop(key).cancel()
        await self._sweep()
        owners: dict[Key, Key] = {}
        for key, document in found.items():
            owner = owners.setdefault(secret_of(document), key)
            if (work := self._work.get(key)) is None:
                work = self._work[key] = Work(document, await self._loaded(key), self._means)
            work.document, work.rival = document, None if owner == key else owner
            work.stir()
            if key not in self._tasks:
                self._tasks[key] = group.create_task(work.run())
        self._publish()

    async def _sweep(self) -> None:
        """Forgets Certificates that were deleted, if need be while nobody looked. Their Secrets stay: gateways may be using them."""
        for entry in (await self._store.range(PREFIX)).entries:
            if _key_at(entry.key) not in self._wanted:
                await self._store.delete(entry.key)

    async def _loaded(self, key: Key) -> Progress:
        entry = await self._store.get(_path(key))
        try:
            return load(entry.value) if entry else Progress()
        except ValueError as error:
            _log.warning("how far a certificate was cannot be read; it is asked for anew", certificate=str(key), error=str(error))
            return Progress()

    async def _keep(self, key: Key, progress: Progress) -> None:
        await self._store.put(_path(key), dump(progress))
        self._publish()

    def _publish(self) -> None:
        shown = tuple(challenge for _, work in sorted(self._work.items()) for challenge in work.challenges())
        if shown != self._shown:
            self._shown = shown
            self._published(shown)


def _path(key: Key) -> str:
    return f"{PREFIX}{quote(key.namespace, safe='')}/{quote(key.name, safe='')}"


def _key_at(path: str) -> Key:
    namespace, name = path.removeprefix(PREFIX).split("/")
    return Key(kind=KIND, namespace=unquote(namespace), name=unquote(name))
