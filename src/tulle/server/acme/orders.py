"""The steps of an order at an authority (RFC 8555, section 7), one function each. All raise AcmeError, OSError."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.tls import Hidden
from tulle.server.acme import jws, material
from tulle.server.acme.directory import AcmeError, Answer, Directory, told
from tulle.server.acme.machine import Standing
from tulle.server.acme.progress import Task

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""RFC 8555, section 8.3: base64url. It becomes part of a path."""
_TYPES = {ChallengeType.HTTP_01: "http-01", ChallengeType.TLS_ALPN_01: "tls-alpn-01"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """To an account that the user has with the authority already."""

    key_id: str
    mac: Hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """With an authority: its URL and its key."""

    directory: Directory
    key: EllipticCurvePrivateKey
    url: str

    async def post(self, url: str, payload: jws.Json | None = None) -> Answer:
        return await self.directory.post(self.key, self.url, url, payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    url: str
    finalize: str
    tasks: tuple[Task, ...]
    """Empty where the authority still believes what was proved before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How far an order is."""

    standing: Standing
    certificate: str = ""
    """Where it can be fetched."""
    retry_after: timedelta | None = None


async def account(directory: Directory, key: EllipticCurvePrivateKey, email: str, binding: Binding | None) -> Account:
    """The account of a key, which is made where there is none (RFC 8555, section 7.3)."""
    if directory.needs_binding and binding is None:
        raise AcmeError("the authority asks for an account that you have with it: fill in issuer.externalAccountBinding")
    url = directory.url("newAccount")
    asked: dict[str, Any] = {"termsOfServiceAgreed": True} | ({"contact": [f"mailto:{email}"]} if email else {})
    if binding:
        asked["externalAccountBinding"] = jws.bound(key, key_id=binding.key_id, mac=binding.mac, url=url)
    answer = await directory.post(key, "", url, asked)
    if not answer.location:
        raise AcmeError("the authority names no account")
    return Account(directory=directory, key=key, url=answer.location)


async def begin(by: Account, names: Iterable[str], kind: ChallengeType, now: datetime) -> Order:
    """A new order, with what the authority asks of it."""
    asked = {"identifiers": [{"type": "dns", "value": name} for name in names]}
    made = await by.post(by.directory.url("newOrder"), asked)
    if not made.location:
        raise AcmeError("the authority names no order")
    tasks = [task for url in _urls(made.said, "authorizations") if (task := await _task(by, url, kind, now))]
    return Order(url=made.location, finalize=made.text("finalize"), tasks=tuple(tasks))


async def _task(by: Account, url: str, kind: ChallengeType, now: datetime) -> Task | None:
    """What is asked about one host; None for one that is believed already."""
    said = (await by.post(url)).said
    host = str(_mapping(said.get("identifier")).get("value", "")).lower()
    if said.get("status") == Standing.VALID.value:
        return None
    offered = [one for one in _list(said, "challenges") if isinstance(one, dict)]
    chosen = next((one for one in offered if one.get("type") == _TYPES[kind]), None)
    if chosen is None:
        others = ", ".join(str(one.get("type")) for one in offered)
        raise AcmeError(f"for {host} the authority does not offer {_TYPES[kind]}, but {others or 'nothing'}")
    token, where = str(chosen.get("token", "")), chosen.get("url")
    if not _TOKEN.fullmatch(token) or not isinstance(where, str):
        raise AcmeError(f"for {host} the authority asks something that cannot be answered")
    return Task(url=where, authorization=url, challenge=_challenge(kind, host, token, f"{token}.{jws.thumbprint(by.key)}", now))


def _challenge(kind: ChallengeType, host: str, token: str, answer: str, now: datetime) -> Challenge:
    if kind is ChallengeType.HTTP_01:
        return Challenge(kind=kind, host=host, token=token, answer=answer)
    chain, key = material.validation(host, answer, now)
    return Challenge(kind=kind, host=host, chain=chain, key=key)


async def answer(by: Account, tasks: Iterable[Task]) -> None:
    """Tells the authority that it may look. One that has looked already is not told again."""
    for task in tasks:
        if (await by.post(task.url)).said.get("status") == Standing.PENDING.value:
            await by.post(task.url, {})


async def look(by: Account, order: str, tasks: Iterable[Task]) -> Seen:
    """How far an order is. Raises AcmeError with what the authority says where it has failed."""
    found = await by.post(order)
    try:
        standing = Standing(found.text("status"))
    except ValueError:
        raise AcmeError("the authority says of the order what nobody knows") from None
    if standing is Standing.INVALID:
        raise AcmeError(await _why(by, found.said, tasks))
    certificate = found.text("certificate") if standing is Standing.VALID else ""
    return Seen(standing=standing, certificate=certificate, retry_after=found.retry_after)


async def _why(by: Account, order: Mapping[str, Any], tasks: Iterable[Task]) -> str:
    """RFC 8555, section 7.1.6: of an order that failed, an authorization says what was found."""
    for task in tasks:
        said = (await by.post(task.authorization)).said
        for one in _list(said, "challenges"):
            if isinstance(one, dict) and (why := told(one.get("error"))):
                return f"the authority could not see that {task.challenge.host} is yours: {why}"
    return f"the authority has given the order up: {told(order.get('error')) or 'it does not say why'}"


async def finalize(by: Account, url: str, request: bytes) -> None:
    await by.post(url, {"csr": jws.encoded(request)})


async def certificate(by: Account, url: str) -> bytes:
    """The chain, as PEM."""
    return (await by.post(url)).body


def _urls(said: Mapping[str, Any], name: str) -> list[str]:
    return [url for url in _list(said, name) if isinstance(url, str)]


def _list(said: Mapping[str, Any], name: str) -> list[Any]:
    found = said.get(name)
    return found if isinstance(found, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
