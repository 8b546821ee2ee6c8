"""JSON Web Tokens that say who a workload is (SPIFFE JWT-SVID; RFC 7519), and the keys that sign them (RFC 7517). Pure but for the keys.

Keys take turns, so that a token is never signed with a key that those who verify it cannot know yet, or not any more:

    published   everybody can know it, and it does not sign yet
    signs       for LIFE
    retired     signs no more, and is published until the last token that it signed has ended
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

ALGORITHM = "ES256"
LIFE = timedelta(days=7)
"""How long a key signs."""
AHEAD = timedelta(days=1)
"""How long before it signs a key is published: those who verify elsewhere may remember keys for so long."""
SHORTEST, USUAL, LONGEST = timedelta(seconds=10), timedelta(minutes=5), timedelta(hours=1)
"""How long tokens hold."""
SKEW = timedelta(minutes=1)
"""By so much clocks may differ."""


class Turn(Enum):
    PUBLISHED = "published"
    SIGNS = "signs"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    signs_from: datetime

    @property
    def id(self) -> str:
        """The thumbprint of the public key (RFC 7638)."""
        return _text(sha256(_json(_public(self.key))).digest())


Keys = tuple[SigningKey, ...]
"""By the time from which each signs."""


def signing(keys: Keys, now: datetime) -> SigningKey:
    """The one whose turn it is: the last whose time has come. The first, where a clock went back."""
    return next((key for key in reversed(keys) if key.signs_from <= now), keys[0])


def turn(of: SigningKey, keys: Keys, now: datetime) -> Turn:
    signs = signing(keys, now)
    return Turn.SIGNS if of is signs else Turn.PUBLISHED if of.signs_from > signs.signs_from else Turn.RETIRED


def kept(keys: Keys, now: datetime) -> Keys:
    """Those that some token may still be signed with."""
    over = [key for key, following in pairwise(keys) if following.signs_from + LONGEST + SKEW <= now]
    return tuple(key for key in keys if key not in over)


def next_turn(keys: Keys, now: datetime) -> datetime | None:
    """From when on one more key is to sign, where it is time to publish it."""
    due = keys[-1].signs_from + LIFE
    return max(due, now + AHEAD) if due - AHEAD <= now else None


def next_change(keys: Keys) -> datetime:
    """When there is something to do: a key to be published, or one to be dropped."""
    return min([keys[-1].signs_from + LIFE - AHEAD, *(key.signs_from + LONGEST + SKEW for key in keys[1:])])


def key_set(keys: Iterable[SigningKey], use: str = "sig") -> list[dict[str, str]]:
    """The public keys."""
    return [{**_public(key.key), "kid": key.id, "alg": ALGORITHM, "use": use} for key in keys]


def signed(claims: Mapping[str, Any], by: SigningKey) -> str:
    """The token (RFC 7515, 7.1; RFC 7518, 3.4)."""
    head = f"{_text(_json({'alg': ALGORITHM, 'kid': by.id, 'typ': 'JWT'}))}.{_text(_json(claims))}"
    r, s = decode_dss_signature(by.key.sign(head.encode(), ec.ECDSA(SHA256())))
    return f"{head}.{_text(r.to_bytes(32) + s.to_bytes(32))}"


def certificate_key(der: bytes) -> dict[str, str] | None:
    """The public key of a certificate (RFC 7518, 6.2 and 6.3). None for one that is neither ECDSA nor RSA."""
    key = x509.load_der_x509_certificate(der).public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _point(key)
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    numbers = key.public_numbers()
    return {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}


def _public(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return _point(key.public_key())


def _point(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    at, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    return {"crv": f"P-{key.curve.key_size}", "kty": "EC", "x": _number(at.x, size), "y": _number(at.y, size)}


def _number(value: int, size: int = 0) -> str:
    return _text(value.to_bytes(size or (value.bit_length() + 7) // 8))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
