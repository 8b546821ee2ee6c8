"""A workload's place in the mesh, on a machine that joins: a key that was made here and stays here, a certificate, and a token for the API.

They lie in one file that this user alone can read, so that the agent needs no new token to join with when it starts again. Beside it lie
key and certificate once more, and the roots, in the form in which proxies read them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tulle import private_file
from tulle.agent.bootstrap import MemberFiles
from tulle.agent.sds import certificate_file, roots_file
from tulle.agent.supervise import Policy
from tulle.agent.voucher import Voucher
from tulle.ca.authority import held
from tulle.ca.joining import requested, vouched
from tulle.ca.keys import dump_key, load_key, new_key
from tulle.credentials import Credentials, Kept
from tulle.http_client import SECURE, Response, request
from tulle.model.identity import control_plane
from tulle.model.tls import Hidden
from tulle.secure import blind_context, context_of, explained

HALF = 0.5
"""Of a certificate's life: when it is renewed."""
LONGEST_SLEEP = 60.0
"""Seconds: clocks jump, machines sleep."""
CERTIFICATE, ROOTS = ".certificate.json", ".roots.json"
"""How the names of the files for proxies end."""


class JoinError(OSError):
    """The control plane does not let this workload in. The message says why."""


class RefusedError(JoinError):
    """The control plane does not take the token."""


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
    xds_tls: bool
    """Proxies are given their configuration over TLS."""
    origin: str
    """A hash of the token that it joined with."""

    @property
    def renew_at(self) -> float:
        return self.since + (self.until - self.since) * HALF

    @property
    def trust_domain(self) -> str:
        return self.identity.removeprefix("spiffe://").partition("/")[0]

    @property
    def holds(self) -> str:
        """As `Authority.held`."""
        end = "-----END CERTIFICATE-----\n"
        return held(self.certificate.partition(end)[2].encode(), self.roots.encode())


class _Asking(Credentials):
    """Who has not joined yet: with the roots alone."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context

    def context(self) -> ssl.SSLContext | None:
        return self._context


class Membership(Credentials):
    """Of one identity. `enter` first; `run` then keeps it. It is what is shown to the API."""

    def __init__(
        self,
        path: Path,
        api: str,
        workload: str,
        *,
        report: Callable[[str], None],
        roots: str = "",
        voucher: Voucher | None = None,
        now: Callable[[], float] = time.time,
        dice: Random | None = None,
    ) -> None:
        """`workload`: `NAMESPACE/SERVICE_ACCOUNT`. `roots` (PEM): of the API, where it does not show a certificate of the mesh's.

        `voucher`: a certificate to join with, where there is no token that does.
        """
        self.papers: Papers | None = None
        self._roots, self._voucher = roots, voucher
        self._context: tuple[Papers, ssl.SSLContext] | None = None
        self._outdated = asyncio.Event()
        self._path, self._api, self._workload = path, api, workload
        self._report, self._now, self._dice = report, now, dice or Random()  # noqa: S311 - spreads renewals, guards nothing

    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.papers.token}"} if self.papers else {}

    def context(self) -> ssl.SSLContext | None:
        of = self.papers
        if of is None:
            return None
        if self._context is None or self._context[0] is not of:
            # The mesh's own roots, too: they follow rotations, and the file does not.
            self._context = (of, context_of(f"{self._roots}\n{of.roots}", of.certificate.encode(), Hidden(of.key.encode())))
        return self._context[1]

    @property
    def files(self) -> MemberFiles | None:
        """What proxies show and believe where they get their configuration over TLS; None where they do not."""
        of = self.papers
        if of is None or not of.xds_tls:
            return None
        certificate, roots = (str(self._path.with_suffix(kind)) for kind in (CERTIFICATE, ROOTS))
        return MemberFiles(certificate=certificate, roots=roots, life=of.until - of.since)

    @property
    def holds(self) -> str:
        """A fingerprint of what it holds of the mesh's authority, for the control plane to compare."""
        return self.papers.holds if self.papers else ""

    def outdated(self) -> None:
        """The control plane says that the authority has changed: the certificate is renewed at once."""
        self._outdated.set()

    async def enter(self, token: str) -> None:
        """Goes on with what an earlier start left, while that holds and is of the mesh that the token is for; else joins with the token,
        or with the voucher.

        Of several tokens, with white space between them, it takes the one that is for this workload. Raises JoinError, OSError where
        the control plane is away or the file cannot be used.
        """
        tokens = token.split()
        if kept := self._kept(tokens):
            self._keep(kept)
            if not (tokens or self._voucher) or await self._is_in():
                return
        refused = JoinError(f"the membership of {self._workload} on this machine has ended: join anew with --join-token-file")
        for text in tokens:
            try:
                await self._join(text)
            except RefusedError as error:  # another's, perhaps, who did not use it up, or has used it before
                refused = error
            else:
                return
        if self._voucher is None:
            raise refused
        await self._join_vouched(self._voucher)

    def _kept(self, tokens: Sequence[str]) -> Papers | None:
        kept = _read(self._path)
        if kept is None or kept.until <= self._now() or not self._is_own(kept):
            return None
        known = not tokens or any(_hash(text) == kept.origin or _has_root(kept.roots, text.rpartition(".")[2]) for text in tokens)
        return kept if known else None

    async def _join(self, token: str) -> None:
        fingerprint = token.rpartition(".")[2]
        key = new_key()
        body = {"token": token, "csr": requested(key).decode(), "for": self._workload}
        try:
            asking = _Asking(await self._trusting(fingerprint))
            answer = await request(self._api, "POST", "/api/v1/join", body=json.dumps(body).encode(), credentials=asking)
        except JoinError:
            raise
        except OSError as error:
            raise JoinError(f"cannot join at the control plane {self._api}: {explained(error, self._api)}") from None
        self._take(_papers(answer.status, answer.body, key, _hash(token)), fingerprint)

    async def _join_vouched(self, voucher: Voucher) -> None:
        if self._api.startswith(SECURE) and not (self._roots or voucher.root):
            raise JoinError(f"who {self._api} is must be known before joining it: give --join-root, or the roots with TULLE_CA_FILE")
        key = new_key()
        try:
            asking = _Asking(await self._trusting(voucher.root))
            roots = _roots_in(await request(self._api, "GET", "/api/v1/join/roots", credentials=asking))
            body = json.dumps(voucher.body(requested(key), roots)).encode()
            answer = await request(self._api, "POST", "/api/v1/join/certificate", body=body, credentials=asking)
        except JoinError:
            raise
        except OSError as error:
            raise JoinError(f"cannot join at the control plane {self._api}: {explained(error, self._api)}") from None
        self._take(_papers(answer.status, answer.body, key, ""), voucher.root)

    async def _is_in(self) -> bool:
        """False where the control plane knows this membership no more. One that is away may."""
        try:
            return (await request(self._api, "GET", "/api/v1/version", credentials=self)).status != 401
        except OSError:
            return True

    async def _trusting(self, fingerprint: str) -> ssl.SSLContext | None:
        """A context for the control plane alone whose mesh has this root. Only its roots are asked of whoever answers there."""
        if not self._api.startswith(SECURE) or self._roots:
            return context_of(self._roots) if self._roots else None
        roots = _roots_in(await request(self._api, "GET", "/api/v1/join/roots", credentials=_Asking(blind_context())))
        if not _has_root(roots, fingerprint):
            raise self._of_another_mesh()
        return context_of(_only(roots, fingerprint))

    def _of_another_mesh(self) -> JoinError:
        what = "token or --join-root" if self._voucher else "token"
        return JoinError(f"the control plane at {self._api} is of another mesh than the {what}: its root is another")

    async def run(self) -> None:
        """Renews the certificate at half its life, until it is cancelled. Until a renewal succeeds, what there is goes on being used.

        Meanwhile connections to the API are kept open.
        """
        self.kept = Kept()
        try:
            await self._renew_in_time()
        finally:
            self.kept.close()
            self.kept = None

    async def _renew_in_time(self) -> None:
        back_off, failures = Policy(first_delay=1.0, max_delay=60.0), 0
        while self.papers:
            wait = self.papers.renew_at - self._now()
            if wait > 0 and not self._outdated.is_set():
                await self._sleep(min(wait, LONGEST_SLEEP) * self._dice.uniform(0.95, 1.0))
                continue
            try:
                await self.renew()
                self._outdated.clear()
                failures = 0
            except OSError as error:
                if not failures:
                    self._report(f"cannot renew the certificate of {self.papers.identity}: {error}; trying again")
                await asyncio.sleep(back_off.delay(failures, self._dice.random()))
                failures += 1

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._outdated.wait()

    async def renew(self) -> None:
        """A new key and a certificate for it, for the present ones. Raises JoinError, OSError."""
        assert self.papers  # noqa: S101 - after enter
        old, key = load_key(self.papers.key.encode()), new_key()
        assert isinstance(old, ec.EllipticCurvePrivateKey)  # noqa: S101 - made here
        csr = requested(key)
        signature = base64.b64encode(vouched(old, csr)).decode()
        body = {"certificate": self.papers.certificate, "csr": csr.decode(), "signature": signature}
        answer = await request(self._api, "POST", "/api/v1/join/renew", body=json.dumps(body).encode(), credentials=self)
        self._take(_papers(answer.status, answer.body, key, self.papers.origin), "")

    def _take(self, papers: Papers, fingerprint: str) -> None:
        if not self._is_own(papers):
            raise JoinError(f"the control plane at {self._api} gave the identity {papers.identity}, not one of {self._workload}")
        if fingerprint and not _has_root(papers.roots, fingerprint):
            raise self._of_another_mesh()
        private_file.write(self._path, json.dumps(asdict(papers)))
        self._keep(papers)

    def _keep(self, papers: Papers) -> None:
        """For proxies, too. The roots first: they are wanted where the certificate is shown."""
        private_file.write(self._path.with_suffix(ROOTS), roots_file(papers.roots, control_plane(papers.trust_domain).uri()))
        private_file.write(self._path.with_suffix(CERTIFICATE), certificate_file(papers.certificate, papers.key))
        self.papers = papers

    def _is_own(self, papers: Papers) -> bool:
        namespace, _, account = self._workload.partition("/")
        return papers.identity.endswith(f"/ns/{namespace}/sa/{account}")


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _papers(status: int, body: bytes, key: ec.EllipticCurvePrivateKey, origin: str) -> Papers:
    try:
        said: Any = json.loads(body)
        if status != 201:
            raise RefusedError(f"the control plane refuses: {said['error']}")
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
            xds_tls=bool(said["xdsTls"]),
            origin=origin,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise JoinError(f"what answers is no control plane of Tulle (status {status})") from None


def _roots_in(answer: Response) -> str:
    """What everybody is told; certificates all. Raises JoinError."""
    try:
        roots = str(answer.json()["roots"])
        x509.load_pem_x509_certificates(roots.encode())
    except (ValueError, KeyError, TypeError):
        raise JoinError(f"what answers is no control plane of Tulle (status {answer.status})") from None
    return roots


def _has_root(roots: str, fingerprint: str) -> bool:
    found = (sha256(c.public_bytes(Encoding.DER)).hexdigest() for c in x509.load_pem_x509_certificates(roots.encode()))
    return fingerprint in found


def _only(roots: str, fingerprint: str) -> bytes:
    found = x509.load_pem_x509_certificates(roots.encode())
    wanted = (c for c in found if sha256(c.public_bytes(Encoding.DER)).hexdigest() == fingerprint)
    return b"".join(c.public_bytes(Encoding.PEM) for c in wanted)


def _read(path: Path) -> Papers | None:
    """None where there is none, or it is broken: one joins anew then. Raises PermissionError where others can read it."""
    try:
        if not private_file.is_private(path):
            raise PermissionError(f"{path}: can be read by others; delete it and join with a new token")
        said = json.loads(path.read_text(encoding="utf-8"))
        return Papers(**{field.name: said[field.name] for field in fields(Papers)})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
