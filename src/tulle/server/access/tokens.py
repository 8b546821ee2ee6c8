"""Tokens in the store: what they are good for, and a hash of each. The text itself is with whoever it was shown to.

tulle.ID.SECRET                    for the API
tulle-join.ID.SECRET.FINGERPRINT   for one workload to join once; the fingerprint is that of the mesh's root

Client certificates bear an id as their name, so that what they are good for stands here, too, and can be taken back.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

from tulle.logs import Log
from tulle.model.identity import Identity
from tulle.server.access.caller import Caller, Role
from tulle.store.port import CompactedError, ConflictError, Delete, Entry, Store, StoreError

ROOT = "tokens/"
REFUSED = "refused-keys/"
"""Of certificates that let nobody join any more, as a membership that came of them was ended; and the hashes of first tokens taken back."""
MOST = 50
"""So many memberships may one certificate have at a time: the oldest ends where another begins."""
API, JOIN = "tulle", "tulle-join"
BOOTSTRAP = "bootstrap"
"""The id of the first token, which lies in a file beside the store."""
_BYTES = 32
_ID = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_log = Log("access")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What may be told of one. Times in seconds since 1970."""

    id: str
    role: Role
    name: str = ""
    """For people."""
    namespaces: tuple[str, ...] = ()
    service_account: str = ""
    """Of a workload: the one that may join, or that has."""
    gateway: bool = False
    """The workload may be a gateway, which gets the keys of all Gateways that pick its labels."""
    once: bool = False
    """It lets one workload join, and nothing else."""
    certificate: bool = False
    """It is shown as a client certificate: there is no text."""
    vouched_key: str = ""
    """Of a member that joined with a certificate: SHA-256 of that one's public key, in hex."""
    vouched_serial: str = ""
    """That one's serial number, in hex."""
    created: float
    expires: float = 0.0
    """0 for never."""

    def caller(self) -> Caller:
        return Caller(id=self.id, role=self.role, namespaces=self.namespaces, service_account=self.service_account)

    def identity(self, trust_domain: str) -> Identity:
        """That a workload may join as, or has."""
        return Identity(trust_domain=trust_domain, namespace=self.namespaces[0], service_account=self.service_account)


class Tokens:
    """Raises StoreError where the store cannot be used."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store, self._now = store, now

    async def create(self, wanted: Token, *, fingerprint: str = "", ttl: float = 0.0) -> tuple[Token, str]:
        """A new token like `wanted`, which holds for `ttl` seconds (0: for ever), and its text, which is known nowhere else.

        One that is shown as a certificate has no text.
        """
        await self._sweep()
        now = self._now()
        token = replace(wanted, id=wanted.id or new_id(), created=now, expires=now + ttl if ttl else 0.0)
        secret = "" if token.certificate else secrets.token_urlsafe(_BYTES)
        await self._write(token, secret, expect=0)
        if not secret:
            return token, ""
        return token, f"{JOIN}.{token.id}.{secret}.{fingerprint}" if token.once else f"{API}.{token.id}.{secret}"

    async def keep_first(self, secret: str) -> str:
        """Makes sure that there is the first admin's token with this secret; its text, which is empty where it was taken back."""
        if await self._store.get(REFUSED + _hash(secret)):
            return ""
        await self._write(Token(id=BOOTSTRAP, role=Role.ADMIN, name="made at first start", created=self._now()), secret)
        return f"{API}.{BOOTSTRAP}.{secret}"

    async def all(self) -> tuple[Token, ...]:
        """Those that hold, by id."""
        listing = await self._store.range(ROOT)
        return tuple(token for token in (_token(entry) for entry in listing.entries) if self._holds(token))

    async def delete(self, identifier: str) -> None:
        """With a membership that came of a certificate end all that came of it, and it lets nobody join any more.

        The first token does not come back with the next start, although its file is still there.
        """
        entry = await self._store.get(ROOT + identifier)
        if entry is not None and identifier == BOOTSTRAP:
            await self._store.put(REFUSED + json.loads(entry.value)["hash"], b"")
        if entry is None or not (key := _token(entry).vouched_key):
            await self._store.delete(ROOT + identifier)
            return
        await self._store.put(REFUSED + key, b"")  # first: who joins meanwhile looks for it at the end
        await self._store.commit([Delete(key=ROOT + token.id) for token in await self._vouched(key)])

    async def vouch(self, wanted: Token, ttl: float) -> str:
        """As `create`, for a member that joins with a certificate; the text, which is empty where that lets nobody join any more."""
        token, text = await self.create(wanted, ttl=ttl)
        if await self._store.get(REFUSED + token.vouched_key):
            await self._store.delete(ROOT + token.id)
            return ""
        if over := (await self._vouched(token.vouched_key))[:-MOST]:
            await self._store.commit([Delete(key=ROOT + one.id) for one in over])
        return text

    async def _vouched(self, key: str) -> list[Token]:
        """By age."""
        found = [_token(entry) for entry in (await self._store.range(ROOT)).entries]
        return sorted((token for token in found if token.vouched_key == key), key=lambda token: token.created)

    async def find(self, text: str) -> Token | None:
        """The token for the API with this text, while it holds."""
        found = await self._found(text, API)
        return found[0] if found else None

    async def held_by(self, holder: str) -> Token | None:
        """What the holder of a client certificate may, while it holds: of people and programs, or of a member of the mesh."""
        entry = await self._store.get(ROOT + holder) if holder and _ID.issuperset(holder) else None
        token = _token(entry) if entry else None
        good = token is not None and self._holds(token) and not token.once and (token.certificate or token.role is Role.WORKLOAD)
        return token if good else None

    async def may_join(self, text: str) -> tuple[Token, int] | None:
        """What a token to join with is good for, while it holds and was not used, and the revision to `use` it at."""
        return await self._found(text, JOIN)

    async def use(self, token: Token, revision: int) -> bool:
        """Uses up a token to join with. False where somebody was faster."""
        try:
            await self._store.delete(ROOT + token.id, expect=revision)
        except ConflictError:
            return False
        return True

    async def extend(self, token: Token, ttl: float) -> bool:
        """The token holds for `ttl` seconds from now. False where it was deleted."""
        entry = await self._store.get(ROOT + token.id)
        if entry is None:
            return False
        value = {**json.loads(entry.value), "expires": self._now() + ttl}
        try:
            await self._store.put(entry.key, json.dumps(value).encode(), expect=entry.revision)
        except ConflictError:
            return await self._store.get(ROOT + token.id) is not None  # another renewal was faster, or it was deleted
        return True

    async def _found(self, text: str, kind: str) -> tuple[Token, int] | None:
        parts = text.split(".")
        if len(parts) != (4 if kind == JOIN else 3) or parts[0] != kind or not parts[1] or not _ID.issuperset(parts[1]):
            return None
        entry = await self._store.get(ROOT + parts[1])
        if entry is None or not hmac.compare_digest(json.loads(entry.value)["hash"], _hash(parts[2])):
            return None
        token = _token(entry)
        return (token, entry.revision) if self._holds(token) and token.once == (kind == JOIN) else None

    async def _write(self, token: Token, secret: str, expect: int | None = None) -> None:
        value = {**asdict(token), "hash": _hash(secret) if secret else ""}
        await self._store.put(ROOT + token.id, json.dumps(value).encode(), expect=expect)

    async def _sweep(self) -> None:
        """Tokens whose time is over are forgotten."""
        listing = await self._store.range(ROOT)
        if over := [Delete(key=entry.key) for entry in listing.entries if not self._holds(_token(entry))]:
            await self._store.commit(over)

    def _holds(self, token: Token) -> bool:
        return not token.expires or self._now() < token.expires


def new_id() -> str:
    return secrets.token_hex(5)


async def follow_ends(store: Store, holders: Callable[[], Iterable[str]], ended: Callable[[str], Awaitable[None]]) -> None:
    """Calls `ended` with the id of each token that is deleted, and with those of `holders` that are none any more.

    Until it is cancelled: a StoreError of one is told, and the others have their turn.
    """

    async def end(holder: str) -> None:
        try:
            await ended(holder)
        except StoreError as error:
            _log.warning("a membership has ended; what was registered with it stays until its time is over", token=holder, error=str(error))

    compacted = True
    while compacted:
        listing = await store.range(ROOT)
        for holder in set(holders()) - {entry.key.removeprefix(ROOT) for entry in listing.entries}:
            await end(holder)
        try:
            async for batch in store.watch(ROOT, listing.revision):
                for change in batch.changes:
                    if change.entry is None:
                        await end(change.key.removeprefix(ROOT))
            compacted = False
        except CompactedError:
            continue


def _hash(secret: str) -> str:
    """Secrets are random and long: there is nothing to guess that a slow hash would protect."""
    return sha256(secret.encode()).hexdigest()


def _token(entry: Entry) -> Token:
    said = json.loads(entry.value)
    said.pop("hash")
    return Token(**{**said, "role": Role(said["role"]), "namespaces": tuple(said["namespaces"])})
