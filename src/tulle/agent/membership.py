"""A workload's place in the mesh, on a machine that joins: a key that was made here and stays here, a certificate, and a token for the API.

They lie in one file that this user alone can read, so that the agent needs no new token to join with when it starts again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tulle import private_file
from tulle.agent.supervise import Policy
from tulle.ca.joining import requested, vouched
from tulle.ca.keys import dump_key, load_key, new_key
from tulle.http_client import request

HALF = 0.5
"""Of a certificate's life: when it is renewed."""
LONGEST_SLEEP = 60.0
"""Seconds: clocks jump, machines sleep."""


class JoinError(OSError):
    """The control plane does not let this workload in. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Papers:
    """What a member has, as it lies in the file."""

    identity: str
    key: str
    certificate: str
    roots: str
    token: str
    since: float
    until: float
    """Seconds since 1970."""

    @property
    def renew_at(self) -> float:
        return self.since + (self.until - self.since) * HALF


class Membership:
    """Of one identity. `enter` first; `run` then keeps it; `credentials` are for the API."""

    def __init__(
        self,
        path: Path,
        api: str,
        workload: str,
        *,
        report: Callable[[str], None],
        now: Callable[[], float] = time.time,
        dice: Random | None = None,
    ) -> None:
        """`workload`: `NAMESPACE/SERVICE_ACCOUNT`."""
        self.papers: Papers | None = None
        self._path, self._api, self._workload = path, api, workload
        self._report, self._now, self._dice = report, now, dice or Random()  # noqa: S311 - spreads renewals, guards nothing

    def credentials(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.papers.token}"} if self.papers else {}

    async def enter(self, token: str) -> None:
        """Goes on with what an earlier start left, while that holds and is of the mesh that the token is for; else joins with the token.

        Raises JoinError, OSError where the control plane is away or the file cannot be used.
        """
        fingerprint = token.rpartition(".")[2]
        kept = _read(self._path)
        if kept and kept.until > self._now() and self._is_own(kept) and _has_root(kept.roots, fingerprint):
            self.papers = kept
            return
        key = new_key()
        body = {"token": token, "csr": requested(key).decode(), "for": self._workload}
        try:
            answer = await request(self._api, "POST", "/api/v1/join", body=json.dumps(body).encode())
        except OSError as error:
            raise JoinError(f"cannot join at the control plane {self._api}: {str(error) or 'it took too long'}") from None
        self._take(_papers(answer.status, answer.body, key), fingerprint)

    async def run(self) -> None:
        """Renews the certificate at half its life, until it is cancelled. Until a renewal succeeds, what there is goes on being used."""
        back_off, failures = Policy(first_delay=1.0, max_delay=60.0), 0
        while self.papers:
            wait = self.papers.renew_at - self._now()
            if wait > 0:
                await asyncio.sleep(min(wait, LONGEST_SLEEP) * self._dice.uniform(0.95, 1.0))
                continue
            try:
                await self.renew()
                failures = 0
            except OSError as error:
                if not failures:
                    self._report(f"cannot renew the certificate of {self.papers.identity}: {error}; trying again")
                await asyncio.sleep(back_off.delay(failures, self._dice.random()))
                failures += 1

    async def renew(self) -> None:
        """A new key and a certificate for it, for the present ones. Raises JoinError, OSError."""
        assert self.papers  # noqa: S101 - after enter
        old, key = load_key(self.papers.key.encode()), new_key()
        assert isinstance(old, ec.EllipticCurvePrivateKey)  # noqa: S101 - made here
        csr = requested(key)
        signature = base64.b64encode(vouched(old, csr)).decode()
        body = {"certificate": self.papers.certificate, "csr": csr.decode(), "signature": signature}
        answer = await request(self._api, "POST", "/api/v1/join/renew", body=json.dumps(body).encode(), headers=self.credentials())
        self._take(_papers(answer.status, answer.body, key), "")

    def _take(self, papers: Papers, fingerprint: str) -> None:
        if not self._is_own(papers):
            raise JoinError(f"the control plane at {self._api} gave the identity {papers.identity}, not one of {self._workload}")
        if fingerprint and not _has_root(papers.roots, fingerprint):
            raise JoinError(f"the control plane at {self._api} is of another mesh than the token: its root is not the token's")
        private_file.write(self._path, json.dumps(asdict(papers)))
        self.papers = papers

    def _is_own(self, papers: Papers) -> bool:
        namespace, _, account = self._workload.partition("/")
        return papers.identity.endswith(f"/ns/{namespace}/sa/{account}")


def _papers(status: int, body: bytes, key: ec.EllipticCurvePrivateKey) -> Papers:
    try:
        said: Any = json.loads(body)
        if status != 201:
            raise JoinError(f"the control plane refuses: {said['error']}")
        chain = x509.load_pem_x509_certificates(said["certificate"].encode())
        if chain[0].public_key() != key.public_key():
            raise JoinError("the control plane answered with a certificate for another key")
        return Papers(
            identity=said["identity"],
            key=dump_key(key).reveal().decode(),
            certificate=said["certificate"],
            roots=said["roots"],
            token=said["token"],
            since=datetime.fromisoformat(said["notBefore"]).timestamp(),
            until=datetime.fromisoformat(said["notAfter"]).timestamp(),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise JoinError(f"what answers is no control plane of Tulle (status {status})") from None


def _has_root(roots: str, fingerprint: str) -> bool:
    found = (sha256(c.public_bytes(Encoding.DER)).hexdigest() for c in x509.load_pem_x509_certificates(roots.encode()))
    return fingerprint in found


def _read(path: Path) -> Papers | None:
    """None where there is none, or it is broken: one joins anew then. Raises PermissionError where others can read it."""
    try:
        if not private_file.is_private(path):
            raise PermissionError(f"{path}: can be read by others; delete it and join with a new token")
        return Papers(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
