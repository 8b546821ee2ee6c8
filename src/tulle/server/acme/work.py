"""One Certificate on its way: asks the machine what is next, does it, and keeps what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol

from tulle.logs import Log
from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.resource import Key, Resource
from tulle.model.tls import Hidden
from tulle.resources.core_secret import Secret
from tulle.resources.security import Certificate
from tulle.resources.security.certificate import Issuer, RotationPolicy
from tulle.server.acme import machine, material, orders
from tulle.server.acme.directory import AcmeError
from tulle.server.acme.kept import fingerprint, put, secret_at
from tulle.server.acme.machine import Doing, Wanted
from tulle.server.acme.material import UnfitError
from tulle.server.acme.orders import Account
from tulle.server.acme.progress import Issued, Progress
from tulle.store.documents import Documents
from tulle.store.port import StoreError

AGAIN = timedelta(seconds=5)
"""Until it is looked again whether what stands in the way is gone, if nothing tells of it before."""
LATER = timedelta(minutes=10)
"""The same after a defect."""
LONGEST_REST = 3600.0
"""Seconds."""
SHOWN = 30.0
"""Seconds in which gateways must have taken an answer."""
_log = Log("certificates")


class Gateways(Protocol):
    """The connected gateways."""

    def able(self, kind: ChallengeType, host: str) -> bool:
        """Whether one of them has a port on which it can answer for a host."""
        ...

    async def shown(self, challenges: tuple[Challenge, ...], seconds: float) -> tuple[str, ...]:
        """Those that have not taken these answers after so long."""
        ...


class Accounts(Protocol):
    async def of(self, issuer: Issuer, namespace: str) -> Account:
        """Raises AcmeError, OSError, StoreError."""
        ...

    def forget(self) -> None:
        """What is known of authorities is asked anew."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What work needs."""

    documents: Documents
    gateways: Gateways
    accounts: Accounts
    now: Callable[[], datetime]
    luck: Callable[[], float]
    """From 0 to 1."""
    keep: Callable[[Key, Progress], Awaitable[None]]
    """Puts it into the store. Raises StoreError."""
    room: asyncio.Semaphore
    """So much goes on at once."""


class Work:
    """`progress` and `blocked` say how far it is; only `run` changes them."""

    def __init__(self, document: Resource[Certificate], progress: Progress, means: Means) -> None:
        self.document = document
        self.progress = progress
        self.blocked = ""
        """What must change here before the authority is asked."""
        self.rival: Key | None = None
        """An older Certificate that has the Secret."""
        self.held = ""
        """Fingerprint of the certificate in the Secret."""
        self._means = means
        self._stirred = asyncio.Event()

    @property
    def wanted(self) -> Wanted:
        return wanted(self.document.spec)

    @property
    def secret(self) -> Key:
        return secret_of(self.document)

    def challenges(self) -> tuple[Challenge, ...]:
        """What gateways are to answer now."""
        source = self.document.at("spec")
        return tuple(replace(task.challenge, source=source) for task in self.progress.tasks)

    def stir(self) -> None:
        """Something changed that may matter."""
        self._stirred.set()

    async def renew(self) -> None:
        """A new certificate is wanted now. Raises StoreError."""
        await self._keep(machine.forced(self.progress))
        self.stir()

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        while True:
            self._stirred.clear()
            try:
                until = await self._step()
            except StoreError as error:
                _log.warning("the store cannot be written; tried again soon", certificate=str(self.document.key), error=str(error))
                until = self._means.now() + AGAIN
            except Exception:  # noqa: BLE001 - the pump: whatever is wrong with one, the others go on
                _log.exception("a certificate cannot be kept; tried again later", certificate=str(self.document.key))
                until = self._means.now() + LATER
            await self._rest(until)

    async def _rest(self, until: datetime | None) -> None:
        """Until a moment, or until something changes. Machines sleep and clocks are set, so it never takes too long."""
        seconds = None if until is None else min(max((until - self._means.now()).total_seconds(), 0.0), LONGEST_REST)
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _step(self) -> datetime | None:
        """Takes the next step. When to look again; None: when something changes."""
        now, wanted_ = self._means.now(), self.wanted
        if machine.is_stale(self.progress, wanted_):
            await self._keep(machine.restarted(self.progress))
        self.held = fingerprint(await self._held())
        action = machine.decide(self.progress, wanted_, self.held, now)
        self.blocked = self._obstacle(action.doing)
        if self.blocked:
            return now + AGAIN
        if action.doing is Doing.REST:
            return action.until
        await self._do(action.doing)
        return self._means.now()

    async def _do(self, doing: Doing) -> None:
        steps = {Doing.ORDER: self._order, Doing.ANSWER: self._answer, Doing.LOOK: self._look, Doing.RESTORE: self._restore}
        wanted_ = self.wanted
        try:
            async with self._means.room:
                await steps[doing]()
        except (AcmeError, UnfitError, OSError) as error:
            self._means.accounts.forget()
            later = error.retry_after if isinstance(error, AcmeError) else None
            after = machine.failed(self.progress, wanted_, str(error), later, self._means.now(), self._means.luck())
            _log.warning("no certificate", certificate=str(self.document.key), error=str(error), next_try=str(after.due))
            await self._keep(after)

    async def _keep(self, progress: Progress) -> None:
        before, self.progress = self.progress, progress
        try:
            await self._means.keep(self.document.key, progress)
        except StoreError:
            self.progress = before
            raise

    def _obstacle(self, doing: Doing) -> str:
        """Why a step is not to be taken yet; empty where it is."""
        if self.rival and doing in (Doing.ORDER, Doing.RESTORE):
            return f"Certificate {self.rival.namespace}/{self.rival.name}, which is older, has the Secret {self.secret.name} already"
        if doing is not Doing.ORDER:
            return ""
        spec = self.document.spec
        lacking = [host for host in spec.names if not self._means.gateways.able(spec.challenge, host)]
        return f"no connected gateway can answer for {', '.join(lacking)}: {_ADVICE[spec.challenge]}" if lacking else ""

    async def _held(self) -> Secret | None:
        return await secret_at(self._means.documents, self.secret)

    async def _put(self, chain: bytes, private: Hidden) -> None:
        await put(self._means.documents, self.secret, self.document.key.name, chain, private)

    # === steps

    async def _account(self) -> Account:
        return await self._means.accounts.of(self.document.spec.issuer, self.document.key.namespace)

    async def _order(self) -> None:
        spec, asked = self.document.spec, self.wanted
        by, key = await self._account(), await self._key()
        made = await orders.begin(by, spec.names, spec.challenge, self._means.now())
        after = machine.ordered(
            replace(self.progress, key=key),
            asked,
            order=made.url,
            finalize=made.finalize,
            tasks=made.tasks,
            terms=by.directory.terms,
            now=self._means.now(),
        )
        await self._keep(after)

    async def _key(self) -> Hidden:
        """A new one, or that of the Secret where it is to stay."""
        wish = self.document.spec.private_key
        if wish.rotation_policy is RotationPolicy.NEVER:
            there = await self._held()
            if there and there.key and material.suits(there.key, wish):
                return there.key
        return await asyncio.to_thread(material.new_key, wish)

    async def _answer(self) -> None:
        missing = await self._means.gateways.shown(self.challenges(), SHOWN)
        if missing:
            raise AcmeError(f"gateways have not taken the answers for the authority in {SHOWN:g} s: {', '.join(missing)}")
        await orders.answer(await self._account(), self.progress.tasks)
        await self._keep(machine.answered(self.progress, self._means.now()))

    async def _look(self) -> None:
        by = await self._account()
        seen = await orders.look(by, self.progress.order, self.progress.tasks)
        # Each time as it is then: somebody may have asked for another certificate meanwhile.
        if seen.certificate:
            await self._take(await orders.certificate(by, seen.certificate))
        elif machine.is_too_late(self.progress, self._means.now()):
            raise AcmeError(f"the authority has not come to an end in {machine.PATIENCE}")
        elif machine.is_to_finalize(self.progress, seen.standing):
            await orders.finalize(by, self.progress.finalize, material.request(self.progress.key, self.document.spec.names))
            await self._keep(machine.finalized(self.progress, self._means.now()))
        else:
            await self._keep(machine.looked(self.progress, seen.retry_after, self._means.now()))

    async def _take(self, chain: bytes) -> None:
        """First into the Secret: until this is noted, the order can be looked at again."""
        found = material.given(chain, self.progress.key, self.document.spec.names)
        await self._put(chain, self.progress.key)
        new = Issued(
            asked=self.progress.asked,
            fingerprint=found.fingerprint,
            serial=found.serial,
            issuer=found.issuer,
            not_before=found.not_before,
            not_after=found.not_after,
            luck=self._means.luck(),
            chain=chain.decode(),
            key=self.progress.key,
        )
        await self._keep(machine.issued(self.progress, self.wanted, new, self._means.now()))
        _log.info("a certificate was issued", certificate=str(self.document.key), until=str(found.not_after), issuer=found.issuer)

    async def _restore(self) -> None:
        if last := self.progress.issued:
            _log.info("the Secret is as it was again", certificate=str(self.document.key), secret=self.secret.name)
            await self._put(last.chain.encode(), last.key)


_ADVICE = {
    ChallengeType.HTTP_01: (
        "the authority asks in plain text on port 80; give a Gateway a server with port 80 and protocol HTTP"
        " (`tls: {httpsRedirect: true}` will do), or choose challenge TLS-ALPN-01"
    ),
    ChallengeType.TLS_ALPN_01: (
        "the authority asks over TLS on port 443; give a Gateway a server for the host that ends TLS"
        " (it may name the Secret that is not there yet), or choose challenge HTTP-01"
    ),
}


def secret_of(document: Resource[Certificate]) -> Key:
    return Key(kind="Secret", namespace=document.key.namespace, name=document.spec.secret_name or document.key.name)


def wanted(spec: Certificate) -> Wanted:
    """Another certificate is necessary when hosts, authority or kind of key change; not when the way to come by it does."""
    key = spec.private_key
    asked = json.dumps([spec.names, spec.issuer.server, key.algorithm.value, key.bits])
    way = asked + spec.issuer.model_dump_json() + spec.challenge.value
    return Wanted(asked=_digest(asked), way=_digest(way), renew_before=spec.renew_before)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
