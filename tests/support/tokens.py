"""Issuers of JSON Web Tokens, of one test."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _json(value: object) -> str:
    return _text(json.dumps(value).encode())


A_DAY = 86_400.0
"""Of a token, in seconds: many are made when the tests are read, and used when it is their turn."""


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

    @property
    def public_key(self) -> bytes:
        """In PEM, as it stands in many a configuration."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def claims(self, *, lives: float = A_DAY, **claims: Any) -> dict[str, Any]:
        """`lives`: seconds, may be negative; a claim that is None is left out."""
        said = {"iss": self.name, "sub": "ann", "exp": int(time.time() + lives), **claims}
        return {name: value for name, value in said.items() if value is not None}

    def token(self, *, lives: float = A_DAY, **claims: Any) -> str:
        return self.signed(json.dumps(self.claims(lives=lives, **claims)))

    def signed(self, payload: str, **head: Any) -> str:
        """A token of any payload, with more, or something else, in its head."""
        text = f"{_json({'alg': 'RS256', 'kid': self.key_id, **head})}.{_text(payload.encode())}"
        return f"{text}.{_text(self._key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


def unsigned(alg: str = "none", signature: str = "", **claims: Any) -> str:
    """A token that nobody signed."""
    return f"{_json({'alg': alg})}.{_json({'exp': int(time.time() + A_DAY), **claims})}.{signature}"


def signed_with_secret(secret: bytes, payload: dict[str, Any], key_id: str = "one") -> str:
    """By HS256, with anything for a secret: that of a verifier who takes a public key for one, say."""
    text = f"{_json({'alg': 'HS256', 'kid': key_id})}.{_json(payload)}"
    return f"{text}.{_text(hmac.digest(secret, text.encode(), 'sha256'))}"
