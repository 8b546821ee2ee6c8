"""All Certificates of a mesh, kept with a real authority that believes everything, and a clock that a test may turn on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.certificates import Ca, tls_secret
from support.pebble import Pebble, needs_pebble, pebble
from support.running import free_port
from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.resource import Condition, Key, Status
from tulle.resources.core_secret import Secret
from tulle.server.acme.accounts import PREFIX as ACCOUNTS
from tulle.server.acme.keeper import PREFIX, Keeper
from tulle.server.acme.kept import fingerprint, secret_at
from tulle.store.document import File
from tulle.store.documents import Documents
from tulle.store.port import Store
from tulle.store.sqlite import open_sqlite

pytestmark = needs_pebble

CA = Ca()
SHOP = Key(kind="Certificate", namespace="default", name="shop")
SECRET = Key(kind="Secret", namespace="default", name="shop")


@dataclass
class Everywhere:
    """Gateways that can answer for every host, or for none, and always have."""

    can: bool = True

    def able(self, _kind: ChallengeType, _host: str) -> bool:
        return self.can

    async def shown(self, _challenges: tuple[Challenge, ...], _seconds: float) -> tuple[str, ...]:
        return ()


@dataclass
class Kept:
    keeper: Keeper
    documents: Documents
    store: Store
    authority: Pebble
    gateways: Everywhere
    ahead: list[timedelta]
    published: list[tuple[Challenge, ...]] = field(default_factory=list)

    async def apply(self, text: str) -> None:
        report = await self.documents.apply([File(path="f", text=text)])
        assert report.violations == ()

    async def until(self, key: Key, kind: str, reason: str, said: str = "") -> Condition:
        """`said`: in the words of it; what was true before may be told for a while."""
        async with asyncio.timeout(180):
            while True:
                found = self.keeper.status(key).condition(kind)
                if found and found.reason == reason and said in found.message:
                    return found
                await asyncio.sleep(0.02)

    async def secret(self) -> Secret:
        found = await secret_at(self.documents, SECRET)
        assert found
        return found

    async def until_held(self, holds: Callable[[str], bool]) -> None:
        """Of the certificate in the Secret."""
        async with asyncio.timeout(180):
            while not holds(fingerprint(await secret_at(self.documents, SECRET))):  # noqa: ASYNC110 - as a reader sees it
                await asyncio.sleep(0.02)

    async def turn(self, ahead: timedelta) -> None:
        """The clock is so much ahead from now on; what waits for it is woken."""
        self.ahead[0] = ahead
        await self.apply(tls_secret("wake", CA.issue(f"a{ahead.days}.example.com")))

    def status(self) -> Status:
        return self.keeper.status(SHOP)


def certificate(of: Pebble, name: str = "shop", more: str = "") -> str:
    return f"""---
apiVersion: tulle.dev/v1
kind: Certificate
metadata: {{name: {name}}}
spec: {{secretName: shop, dnsNames: [{name}.example.com], issuer: {of.issuer()}{more}}}
"""


@asynccontextmanager
async def keeping(folder: Path, authority: Pebble, *, can: bool = True) -> AsyncIterator[Kept]:
    ahead, gateways, published = [timedelta()], Everywhere(can), list[tuple[Challenge, ...]]()
    async with open_sqlite(folder / "t.db", time.monotonic) as store, asyncio.TaskGroup() as group:
        documents = Documents(store)
        keeper = Keeper(store, documents, gateways, published.append, now=lambda: datetime.now(UTC) + ahead[0], luck=lambda: 0.5)
        first = asyncio.Event()

        async def follow() -> None:
            async for update in documents.watch():
                keeper.take(update)
                first.set()

        following = group.create_task(follow())
        await first.wait()
        running = group.create_task(keeper.run())
        yield Kept(keeper, documents, store, authority, gateways, ahead, published)
        running.cancel()
        following.cancel()


def believing(folder: Path) -> AbstractContextManager[Pebble]:
    return pebble(folder, http=free_port(), tls=free_port(), PEBBLE_VA_ALWAYS_VALID="1", PEBBLE_AUTHZREUSE="0")


def orders(authority: Pebble) -> int:
    return authority.log.read_text().count("Added order")


def test_one_certificate_through_its_life(tmp_path: Path) -> None:
    """A Secret of the user's own goes on until the first comes; the rest of it stays. Then renewals, failures, and the end."""

    async def run() -> None:
        with believing(tmp_path) as authority:
            async with keeping(tmp_path, authority, can=False) as kept:
                own = CA.issue("shop.example.com")
                await kept.apply(tls_secret("shop", own, CA) + certificate(authority))
                assert "no connected gateway can answer" in (await kept.until(SHOP, "Issuing", "Blocked")).message
                assert (await kept.secret()).chain.reveal() == own.certificate  # type: ignore[union-attr]
                kept.gateways.can = True
                kept.keeper.stir()
                await kept.until(SHOP, "Ready", "Issued")
                held = await kept.secret()
                assert (fingerprint(held) != own.digest(), held.roots.reveal()) == (True, CA.pem)  # type: ignore[union-attr]
                assert [len(shown) for shown in kept.published] == [1, 0], "answers are shown as long as they are asked for"
                assert kept.status().details["issuedBy"]
                await a_lost_secret_is_put_back(kept, fingerprint(held))
                await renewals(kept, authority, fingerprint(held))
            async with keeping(tmp_path, authority) as kept:
                await kept.until(SHOP, "Ready", "Issued")
                assert orders(authority) == 2, "a new start asks for nothing"
                assert len((await kept.store.range(ACCOUNTS)).entries) == 1
        async with keeping(tmp_path, authority) as kept:
            await failures(kept)

    async def a_lost_secret_is_put_back(kept: Kept, before: str) -> None:
        await kept.documents.delete([SECRET])
        await kept.until_held(lambda found: found != "")
        assert (fingerprint(await kept.secret()), orders(kept.authority)) == (before, 1)

    async def renewals(kept: Kept, authority: Pebble, before: str) -> None:
        """Two thirds of 90 days, and a little earlier by chance."""
        planned = datetime.fromisoformat(kept.status().details["renewalTime"]) - datetime.now(UTC)
        assert abs(planned - timedelta(days=58.5)) < timedelta(hours=1)
        await kept.turn(timedelta(days=60))
        await kept.until_held(lambda found: found != before)
        await kept.until(SHOP, "Issuing", "Failed", "is the clock of this machine right?")  # the authority's stands where it stood
        assert orders(authority) == 2
        await kept.turn(timedelta())

    async def failures(kept: Kept) -> None:
        """The authority is gone. What is in force stays, warnings come, and at last it is over."""
        await kept.turn(timedelta(days=70))
        await kept.until(SHOP, "Issuing", "Failed", "no answer from")
        status = kept.status()
        assert status.condition("Ready").status is True  # type: ignore[union-attr]
        assert "not renewed: no answer from" in status.warnings[0].message
        assert "the one in the Secret shop ends at" in status.warnings[0].message
        assert (status.details["failures"], "nextTry" in status.details) == (1, True)
        await kept.turn(timedelta(days=91))
        await kept.until(SHOP, "Ready", "Expired", "it ended at")

    asyncio.run(run())


def test_two_for_one_secret_do_not_fight(tmp_path: Path) -> None:
    other = SHOP._replace(name="other")

    async def run() -> None:
        with believing(tmp_path) as authority:
            async with keeping(tmp_path, authority) as kept:
                await kept.apply(certificate(authority) + certificate(authority, "other"))
                await kept.until(SHOP, "Ready", "Issued")
                assert (
                    "Certificate default/shop, which is older, has the Secret shop"
                    in (await kept.until(other, "Issuing", "Blocked")).message
                )
                assert orders(authority) == 1
                await kept.documents.delete([SHOP])
                await kept.until(other, "Ready", "Issued")
                names = [entry.key for entry in (await kept.store.range(PREFIX)).entries]
                assert names == [f"{PREFIX}default/other"], "of what is deleted nothing is kept"
                assert kept.status() == Status()

    asyncio.run(run())


def test_a_document_that_asks_for_something_else_gets_it_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        with believing(tmp_path) as authority:
            async with keeping(tmp_path, authority) as kept:
                await kept.apply(certificate(authority))
                await kept.until(SHOP, "Ready", "Issued")
                first = fingerprint(await kept.secret())
                await kept.apply(certificate(authority, more=", renewBefore: 240h, challenge: TLS-ALPN-01"))
                await kept.until(SHOP, "Issuing", "Idle")
                assert (fingerprint(await kept.secret()), orders(authority)) == (first, 1), "that asks for no other certificate"
                await kept.apply(certificate(authority, more=", privateKey: {size: 384}"))
                await kept.until(SHOP, "Ready", "Outdated")
                await kept.until(SHOP, "Ready", "Issued")
                assert (fingerprint(await kept.secret()) != first, orders(authority)) == (True, 2)

    asyncio.run(run())


def test_what_was_deleted_while_nobody_looked_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        with believing(tmp_path) as authority:
            async with open_sqlite(tmp_path / "t.db", time.monotonic) as store:
                await store.put(f"{PREFIX}default/gone", b"{}")
                await store.put(f"{PREFIX}default/shop", b"of a later version")
            async with keeping(tmp_path, authority) as kept:
                await kept.apply(certificate(authority))
                await kept.until(SHOP, "Ready", "Issued")
                assert [entry.key for entry in (await kept.store.range(PREFIX)).entries] == [f"{PREFIX}default/shop"]

    asyncio.run(run())
