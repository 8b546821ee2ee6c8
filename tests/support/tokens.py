"""Issuers of JSON Web Tokens, of one test."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _json(value: object) -> str:
    return _text(json.dumps(value).encode())


class Issuer:
    """Signs with RS256 (RFC 7518, section 3.3)."""

    def __init__(self, name: str = "https://issuer.example", key_id: str = "one") -> None:
        self.name, self.key_id = name, key_id
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def key_set(self) -> str:
        numbers = self._key.public_key().public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        key = {"kty": "RSA", "alg": "RS256", "kid": self.key_id, "n": _text(numbers.n.to_bytes(size)), "e": _text(numbers.e.to_bytes(3))}
        return json.dumps({"keys": [key]})

    @property
    def modulus(self) -> bytes:
        """What a confused verifier would take for the secret of a symmetric signature."""
        return self.key_set.encode()

    def token(self, *, lives: float = 600, **claims: Any) -> str:
        """`lives` may be negative; a claim that is None is left out."""
        said = {"iss": self.name, "sub": "ann", "exp": int(time.time() + lives), **claims}
        head = f"{_json({'alg': 'RS256', 'kid': self.key_id})}.{_json({k: v for k, v in said.items() if v is not None})}"
        return f"{head}.{_text(self._key.sign(head.encode(), padding.PKCS1v15(), SHA256()))}"


def unsigned(**claims: Any) -> str:
    """`alg: none`."""
    return f"{_json({'alg': 'none'})}.{_json({'exp': int(time.time() + 600), **claims})}."
