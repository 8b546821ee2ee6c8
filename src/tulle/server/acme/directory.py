"""One request after the other to an authority (RFC 8555, sections 6 and 7.1.1).

Clients that others wrote follow redirections to anywhere, and forget what a refusal says of when to ask again.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from tulle import __version__
from tulle.credentials import Credentials
from tulle.http_client import Response, request
from tulle.reach import ANYWHERE, Reach
from tulle.server.acme import jws
from tulle.server.fetching import LARGEST, UnusableError, place

TIMEOUT = 30.0
"""Seconds for one answer."""
_TRIES = 8
"""With a nonce each: an authority may turn down any (RFC 8555, section 6.5)."""
_LONGEST = 400
"""Characters of what an authority says."""


class AcmeError(Exception):
    """An authority, or what leads to it, is in the way. The message says how; it is for people."""

    def __init__(self, message: str, *, kind: str = "", retry_after: timedelta | None = None) -> None:
        """`kind`: the end of the type of error (RFC 8555, section 6.7)."""
        super().__init__(message)
        self.kind, self.retry_after = kind, retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    said: Mapping[str, Any]
    """Empty where it is no JSON object."""
    body: bytes
    headers: Mapping[str, str]

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def retry_after(self) -> timedelta | None:
        return _retry_after(self.headers)

    def text(self, name: str) -> str:
        """Raises AcmeError where there is none."""
        value = self.said.get(name)
        if not isinstance(value, str):
            raise AcmeError(f"the authority's answer lacks {name}")
        return value


class _Believing(Credentials):
    """Shows nothing, and believes certain authorities of the web."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        self._trust = trust

    def context(self) -> ssl.SSLContext:
        return self._trust


class Directory:
    """An authority. Made by `opened`."""

    def __init__(self, said: Mapping[str, Any], trust: ssl.SSLContext, reach: Reach) -> None:
        self._said, self._trust, self._reach = said, trust, reach
        self._nonces: list[str] = []

    @property
    def terms(self) -> str:
        """Where its terms of service stand."""
        return str(self._meta().get("termsOfService", ""))[:_LONGEST]

    @property
    def needs_binding(self) -> bool:
        """Whether it gives accounts only to those who have one with it already."""
        return self._meta().get("externalAccountRequired") is True

    def _meta(self) -> Mapping[str, Any]:
        meta = self._said.get("meta")
        return meta if isinstance(meta, dict) else {}

    def url(self, name: str) -> str:
        """Raises AcmeError where it does not say."""
        if not isinstance(found := self._said.get(name), str):
            raise AcmeError(f"the authority's directory lacks {name}: is this the URL of an ACME directory?")
        return found

    async def post(self, key: EllipticCurvePrivateKey, account: str, url: str, payload: jws.Json | None) -> Answer:
        """A signed request; without payload it asks for what is there. Raises AcmeError, OSError."""
        for _ in range(_TRIES - 1):
            try:
                return await self._once(key, account, url, payload)
            except AcmeError as error:
                if error.kind != "badNonce":
                    raise
        return await self._once(key, account, url, payload)

    async def _once(self, key: EllipticCurvePrivateKey, account: str, url: str, payload: jws.Json | None) -> Answer:
        nonce = self._nonces.pop() if self._nonces else await self._nonce()
        body = jws.signed(key, payload, url=url, nonce=nonce, account=account)
        answer = await _asked(self._trust, self._reach, "POST", url, body)
        self._keep_nonce(answer)
        return _judged(answer)

    async def _nonce(self) -> str:
        self._keep_nonce(await _asked(self._trust, self._reach, "GET", self.url("newNonce")))
        if not self._nonces:
            raise AcmeError("the authority gives no nonce")
        return self._nonces.pop()

    def _keep_nonce(self, answer: Response) -> None:
        if nonce := answer.headers.get("replay-nonce"):
            self._nonces.append(nonce)


async def opened(url: str, ca_file: str, reach: Reach = ANYWHERE) -> Directory:
    """The authority whose directory stands at a URL. `ca_file`: who vouches for it; empty for those that the machine trusts.

    `reach`: where that URL, and those that it names, may lead. Raises AcmeError, OSError.
    """
    trust = _trust(ca_file)
    return Directory(_judged(await _asked(trust, reach, "GET", url)).said, trust, reach)


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=_held_by(Path(ca_file)) if ca_file else None)
    except (ssl.SSLError, ValueError):
        raise AcmeError(f"issuer.caFile {ca_file} cannot be used: it holds no certificate in PEM") from None
    except OSError as error:
        raise AcmeError(f"issuer.caFile {ca_file} cannot be used: {error.strerror}") from None


def _held_by(file: Path) -> str:
    """A document names it, and so whatever there is on this machine: devices and pipes have no end. Raises OSError, ValueError."""
    if file.exists() and not file.is_file():
        raise ValueError("is no file")
    with file.open("rb") as content:
        return content.read(LARGEST).decode("ascii")


async def _asked(trust: ssl.SSLContext, reach: Reach, method: str, url: str, body: bytes = b"") -> Response:
    if not url.startswith("https://"):
        raise AcmeError("the authority names a URL without https")
    headers = {"user-agent": f"tulle/{__version__}", "accept": "application/json, application/pem-certificate-chain"}
    if body:
        headers["content-type"] = "application/jose+json"
    try:
        to, path = place(url)
        by = _Believing(trust)
        return await request(to, method, path, body=body, timeout=TIMEOUT, headers=headers, credentials=by, most=LARGEST, may_ask=reach)
    except (UnusableError, ValueError) as error:
        raise AcmeError(f"the authority cannot be asked at {url}: {error}") from None
    except PermissionError:
        raise AcmeError(f"{url} leads to an address that is not asked, unless TULLE_FETCH_ALLOW has it") from None
    except OSError as error:
        raise AcmeError(f"no answer from {url}: {str(error) or type(error).__name__}") from None


def _judged(answer: Response) -> Answer:
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        said = None
    found = said if isinstance(said, dict) else {}
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _problem(answer, found)
    return Answer(said=found, body=answer.body, headers=answer.headers)


def _problem(answer: Response, said: Mapping[str, Any]) -> AcmeError:
    """RFC 7807, with the parts of RFC 8555, section 6.7.1."""
    kind = str(said.get("type", "")).rpartition(":")[2]
    return AcmeError(f"the authority refuses: {told(said) or answer.status}", kind=kind, retry_after=_retry_after(answer.headers))


def told(problem: object) -> str:
    """What an authority says is wrong, in one line."""
    if not isinstance(problem, Mapping):
        return ""
    detail, kind = str(problem.get("detail", "")), str(problem.get("type", "")).rpartition(":")[2]
    parts = [f"{detail} ({kind})" if kind else detail]
    below = problem.get("subproblems")
    parts += [told(one) for one in below[:3]] if isinstance(below, list) else []
    line = "; ".join(part for part in parts if part)
    return "".join(c if c.isprintable() else " " for c in line)[:_LONGEST]


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Seconds, or a date (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(at - datetime.now(UTC), timedelta()) if at.tzinfo else None
