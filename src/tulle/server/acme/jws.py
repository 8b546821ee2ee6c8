"""Signed requests (RFC 7515 in the narrow form of RFC 8555, section 6.2), and what stands for an account's key."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tulle.model.tls import Hidden

Json = Mapping[str, Any]
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_COORDINATE = 32
"""Bytes of a number of P-256."""


def encoded(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Raises ValueError."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public(key: EllipticCurvePrivateKey) -> dict[str, str]:
    """The public key as JSON (RFC 7518, section 6.2.1), in the order of RFC 7638."""
    numbers = key.public_key().public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": _number(numbers.x), "y": _number(numbers.y)}


def thumbprint(key: EllipticCurvePrivateKey) -> str:
    """RFC 7638."""
    return encoded(hashlib.sha256(_json(public(key))).digest())


def signed(key: EllipticCurvePrivateKey, payload: Json | None, *, url: str, nonce: str, account: str) -> bytes:
    """A request by an account, which is named by its URL; by its key, where that is empty. No payload at all asks for what is there."""
    who: Json = {"kid": account} if account else {"jwk": public(key)}
    head, body = encoded(_json({"alg": "ES256", "nonce": nonce, "url": url, **who})), "" if payload is None else encoded(_json(payload))
    r, s = decode_dss_signature(key.sign(f"{head}.{body}".encode(), ECDSA(SHA256())))
    return _json(
        {"protected": head, "payload": body, "signature": encoded(r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big"))}
    )


def bound(key: EllipticCurvePrivateKey, *, key_id: str, mac: Hidden, url: str) -> Json:
    """That an account of the user's stands behind the key (RFC 8555, section 7.3.4)."""
    head, body = encoded(_json({"alg": "HS256", "kid": key_id, "url": url})), encoded(_json(public(key)))
    code = hmac.HMAC(mac.reveal(), SHA256())
    code.update(f"{head}.{body}".encode())
    return {"protected": head, "payload": body, "signature": encoded(code.finalize())}


def _number(value: int) -> str:
    return encoded(value.to_bytes(_COORDINATE, "big"))


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
