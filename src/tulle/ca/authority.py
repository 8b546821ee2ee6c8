"""Who signs for the mesh: opens or makes the authority's files, and issues certificates.

A root is replaced in steps that overlap, each of which leaves every connection possible. Where a rotation stands is told by the folders:

    current              signs
    current, next        `begin`: the new root is trusted, and does not sign yet
    current, previous    `switch`: the new root signs, the old one is still trusted
    current              `finish`: the old root is trusted no more
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tulle.ca import files, issue, names
from tulle.ca.clock import utc
from tulle.ca.files import AuthorityError, Generation
from tulle.ca.issue import Names, Term
from tulle.ca.keys import PublicKey, dump_key, new_key
from tulle.model.identity import Identity
from tulle.model.tls import Hidden

ROOT_LIFE = timedelta(days=3650)
INTERMEDIATE_LIFE = ROOT_LIFE
"""It ends with its root, so that a rotation is all that there is to do."""
LEAF_LIFE = timedelta(hours=24)
SKEW = timedelta(minutes=1)
"""A certificate holds from so long before it was made, for machines whose clocks go slow."""


class Stage(Enum):
    """How far a rotation of the root is."""

    STEADY = "steady"
    INTRODUCED = "introduced"
    """The next root is trusted; the current one signs."""
    SWITCHED = "switched"
    """The new root signs; the previous one is still trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A trusted root, for people and for clients who ask."""

    pem: str
    name: str
    serial: int
    fingerprint: str
    """SHA-256, in hex."""
    not_before: datetime
    not_after: datetime
    active: bool
    """It stands behind the certificates that are issued now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A workload's certificate."""

    identity: Identity | None
    """None for one of people and programs that no proxy is to believe."""
    chain: bytes
    """PEM: the certificate, then what stands between it and the root."""
    key: Hidden | None
    """PEM; None where the workload keeps its own."""
    serial: int
    not_before: datetime
    not_after: datetime


class Authority:
    """`given`: the folder is the operator's own, as `files` says; else one is made there at first start.

    Raises AuthorityError for files that cannot be used, OSError for folders.
    """

    def __init__(
        self,
        directory: Path,
        trust_domain: str,
        *,
        given: bool = False,
        lifetime: timedelta = LEAF_LIFE,
        now: Callable[[], datetime] = utc,
        serial: Callable[[], int] = x509.random_serial_number,
    ) -> None:
        self.trust_domain, self.lifetime, self.is_given = trust_domain, lifetime, given
        self._directory, self._now, self._serial = directory, now, serial
        self._current: Generation
        self._next: Generation | None = None
        self._previous: Generation | None = None
        self.generation = 0
        """Grows with every change to roots or signer."""
        self._held = (0, "")
        self._load()

    @property
    def stage(self) -> Stage:
        return Stage.INTRODUCED if self._next else Stage.SWITCHED if self._previous else Stage.STEADY

    def roots(self) -> tuple[Root, ...]:
        """All that are trusted now, the one behind new certificates first."""
        active = self._current.roots
        found = dict.fromkeys(c for g in (self._current, self._next, self._previous) if g for c in g.roots)
        return tuple(_root(certificate, active=certificate in active) for certificate in found)

    @property
    def ends(self) -> datetime:
        """When it can sign no more: the first end of its root and of what stands between that and the leaves."""
        above = x509.load_pem_x509_certificates(self._current.signer.chain) if self._current.signer.chain else []
        return min(c.not_valid_after_utc for c in (*above, self._current.signer.certificate, *self._current.roots[:1]))

    def bundle(self) -> bytes:
        """PEM of all trusted roots."""
        return "".join(root.pem for root in self.roots()).encode()

    def held(self) -> str:
        """A fingerprint of what members are to hold: the roots, and what stands between them and a certificate of today."""
        if self._held[0] != self.generation:
            self._held = (self.generation, held(self._current.signer.chain, self.bundle()))
        return self._held[1]

    def issue(self, identity: Identity, *, hosts: tuple[str, ...] = (), lifetime: timedelta | None = None) -> Issued:
        """A certificate with a new key, also for `hosts`. Whether the caller may have this identity is for the caller to know.

        Raises ValueError for names that could be read as others, AuthorityError when what signs has ended.
        """
        key = new_key()
        return self._issued(identity, Names(uri=_uri(identity), hosts=hosts), key.public_key(), dump_key(key), lifetime)

    def sign(self, request: bytes, identity: Identity, *, holder: str = "", lifetime: timedelta | None = None) -> Issued:
        """A certificate for the key of a PEM request (CSR), which stays where it is. Raises ValueError for a request that is not taken."""
        uri = _uri(identity)
        return self._issued(identity, Names(uri=uri, holder=holder), issue.requested_key(request, uri), None, lifetime)

    def sign_holder(self, request: bytes, holder: str, lifetime: timedelta) -> Issued:
        """As `sign`, without an identity in the mesh: only the control plane knows who `holder` is."""
        return self._issued(None, Names(holder=holder), issue.requested_key(request, ""), None, lifetime)

    def is_current(self, issued: Issued) -> bool:
        """Whether the generation that signs now has signed it."""
        return issued.chain.endswith(self._current.signer.chain)

    def has_signed(self, certificate: x509.Certificate) -> bool:
        """Whether what signs now, is to sign next or has signed before the present rotation has signed this one."""
        return any(files.is_signed(certificate, g.signer.certificate) for g in (self._current, self._next, self._previous) if g)

    def stands_on(self, certificate: x509.Certificate) -> bool:
        """Whether its key is that of a trusted root, or of what signs."""
        own = (c for g in (self._current, self._next, self._previous) if g for c in (*g.roots, g.signer.certificate))
        return any(certificate.public_key() == one.public_key() for one in own)

    # Rotation

    def begin(self) -> None:
        """Makes the next root, which is trusted from now on. Raises AuthorityError where that is not the next step."""
        self._expect(Stage.STEADY, "a rotation is under way already")
        self._make(self._directory / "next")
        self._load()

    def switch(self) -> None:
        """From now on the next root's intermediate signs. Everybody must trust that root by now."""
        self._expect(Stage.INTRODUCED, "there is no next root yet: begin first")
        (self._directory / "current").rename(self._directory / "previous")
        (self._directory / "next").rename(self._directory / "current")
        self._load()

    def finish(self) -> None:
        """The previous root is trusted no more. Nobody may show a certificate of its by now."""
        self._expect(Stage.SWITCHED, "there is no previous root to be dropped")
        gone = self._directory / ".previous.gone"
        shutil.rmtree(gone, ignore_errors=True)
        (self._directory / "previous").rename(gone)
        shutil.rmtree(gone)
        self._load()

    def _expect(self, stage: Stage, otherwise: str) -> None:
        if self.is_given:
            raise AuthorityError(
                f"the authority in {self._directory} is yours: put the new root beside the old one into {files.ROOT} and restart, "
                f"then replace {files.SIGNER} and {files.SIGNER_KEY} and restart, then take the old root out and restart"
            )
        if self.stage is not stage:
            raise AuthorityError(otherwise)

    def _load(self) -> None:
        if self.is_given:
            self._current = files.read(self._directory)
        else:
            self._load_own()
        # Last: whoever asks in another thread meanwhile must not take what is there for what is to come.
        self.generation += 1

    def _load_own(self) -> None:
        current, following, previous = (self._directory / name for name in ("current", "next", "previous"))
        if not current.exists():
            # Either there is nothing yet, or a switch was cut short between its two steps.
            following.rename(current) if previous.exists() and following.exists() else self._make(current)
        self._current = files.read(current)
        self._next = files.read(following) if following.exists() else None
        self._previous = files.read(previous) if previous.exists() else None

    def _make(self, directory: Path) -> None:
        root = issue.root(new_key(), self.trust_domain, self._term(ROOT_LIFE))
        files.write(directory, root, issue.intermediate(root, new_key(), self.trust_domain, self._term(INTERMEDIATE_LIFE)))

    def _term(self, life: timedelta) -> Term:
        now = self._now()
        return Term(not_before=now - SKEW, not_after=now + life, serial=self._serial())

    def _issued(self, identity: Identity | None, whom: Names, key: PublicKey, private: Hidden | None, lifetime: timedelta | None) -> Issued:
        if (end := self._current.signer.certificate.not_valid_after_utc) <= self._now():
            raise AuthorityError(f"the certificate that signs ended at {end:%Y-%m-%d %H:%M}: replace it, or nobody gets a new identity")
        made = issue.leaf(self._current.signer, key, whom, self._term(lifetime or self.lifetime))
        return Issued(
            identity=identity,
            chain=issue.pem([made]) + self._current.signer.chain,
            key=private,
            serial=made.serial_number,
            not_before=made.not_valid_before_utc,
            not_after=made.not_valid_after_utc,
        )


def held(chain: bytes, roots: bytes) -> str:
    """See `Authority.held`: of what is above a certificate, and the roots, both PEM."""
    return sha256(chain + roots).hexdigest()


def _uri(identity: Identity) -> str:
    names.check(identity)
    return identity.uri()


def _root(certificate: x509.Certificate, *, active: bool) -> Root:
    return Root(
        pem=issue.pem([certificate]).decode(),
        name=certificate.subject.rfc4514_string(),
        serial=certificate.serial_number,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        active=active,
    )
