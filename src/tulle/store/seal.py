"""Values as they lie on the disk: encrypted, each bound to the name that it stands under.

A sealed value is one byte of form, 8 bytes that name the operator's key, 16 bytes of salt, 8 bytes of counter, then AES-256-GCM's text and
tag (NIST SP 800-38D) with the name as associated data. What encrypts is made of key and salt by HKDF (RFC 5869), and the salt is new
whenever a store is opened: so the counter, which is the nonce, is never used twice with one key, however much is written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tulle.model.tls import Hidden

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
SALT_BYTES = 16
_FORM = b"\x01"
_ID_BYTES = 8
_COUNTER_BYTES = 8
_HEAD = len(_FORM) + _ID_BYTES + SALT_BYTES + _COUNTER_BYTES


class SealError(ValueError):
    """A value cannot be read with the keys that there are. The message says why, and nothing of the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionKeys:
    """The first encrypts; all decrypt."""

    keys: tuple[Hidden, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """By which people, and sealed values, tell keys apart; they say nothing of the keys."""
        return tuple(_id(key).hex() for key in self.keys)

    def find(self, name: bytes) -> Hidden | None:
        return next((key for key in self.keys if _id(key) == name), None)

    @property
    def text(self) -> bytes:
        """As a file holds them: a line of base64 for each."""
        return b"".join(base64.b64encode(key.reveal()) + b"\n" for key in self.keys)


def parse_keys(text: bytes) -> EncryptionKeys:
    """From a line of base64 for each; `#` begins a comment. Raises ValueError, without anything of the text."""
    lines = [(number, line.split(b"#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
    keys = tuple(Hidden(_parsed(line, number)) for number, line in lines if line)
    if not keys:
        raise ValueError("holds no key")
    return EncryptionKeys(keys=keys)


def _parsed(line: bytes, number: int) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"line {number} is not a key: {KEY_BYTES} bytes in base64")
    return key


def _id(key: Hidden) -> bytes:
    return hashlib.sha256(b"tulle store key\0" + key.reveal()).digest()[:_ID_BYTES]


class Seal:
    """Seals and opens the values of one store, from when it is opened until it is closed."""

    def __init__(self, keys: EncryptionKeys, salt: bytes) -> None:
        """`salt`: 16 random bytes that were never used before."""
        self._keys = keys
        self._head = _FORM + bytes.fromhex(keys.ids[0]) + salt
        self._cipher = _cipher(keys.keys[0], salt)
        self._counter = itertools.count()

    def seal(self, name: str, value: bytes) -> bytes:
        count = next(self._counter).to_bytes(_COUNTER_BYTES, "big")
        return self._head + count + self._cipher.encrypt(_nonce(count), value, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises SealError."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - slow to load

        key = self._key(name, sealed)
        salt, count = sealed[_HEAD - _COUNTER_BYTES - SALT_BYTES : _HEAD - _COUNTER_BYTES], sealed[_HEAD - _COUNTER_BYTES : _HEAD]
        try:
            return _cipher(key, salt).decrypt(_nonce(count), sealed[_HEAD:], name.encode())
        except InvalidTag:
            raise SealError(f"the value of {name} was changed by somebody who has not its key") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether the first key was used."""
        return sealed[: 1 + _ID_BYTES] == self._head[: 1 + _ID_BYTES]

    def _key(self, name: str, sealed: bytes) -> Hidden:
        if sealed[:1] != _FORM or len(sealed) < _HEAD:
            raise SealError(f"the value of {name} is not one that this version of Tulle encrypted")
        wanted = sealed[1 : 1 + _ID_BYTES]
        if (key := self._keys.find(wanted)) is None:
            given = ", ".join(self._keys.ids)
            raise SealError(f"values are encrypted with the key {wanted.hex()}, which is not among the keys given ({given}): add its line")
        return key


def _nonce(count: bytes) -> bytes:
    return b"\0\0\0\0" + count


@lru_cache(maxsize=64)
def _cipher(key: Hidden, salt: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - slow to load

    return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"tulle store value").derive(key.reveal()))
