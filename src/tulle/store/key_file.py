"""The file of the keys that a store is encrypted with: the operator's own, or one made beside the database at first start."""

from __future__ import annotations

import secrets
from pathlib import Path

from tulle import private_file
from tulle.model.tls import Hidden
from tulle.store.port import StoreError
from tulle.store.seal import KEY_BYTES, EncryptionKeys, parse_keys

OPTION = "--encryption-key-file (TULLE_ENCRYPTION_KEY_FILE)"


class KeyFile:
    def __init__(self, path: Path, *, given: bool) -> None:
        """`given`: the operator's own, which is never made where it is missing."""
        self.path, self.given = path, given

    @classmethod
    def of(cls, given: str, database: str | Path) -> KeyFile:
        """The one that the operator gives; where that is empty, the one beside the database."""
        return cls(Path(given), given=True) if given else cls(Path(f"{database}.key"), given=False)

    def read(self) -> EncryptionKeys:
        """Raises StoreError for a file that is missing, broken, or open to everybody."""
        try:
            if self.path.stat().st_mode & 0o007:
                raise StoreError(f"the encryption key {self.path} can be read by others; chmod 600 it")
            return parse_keys(self.path.read_bytes())
        except OSError as error:
            raise StoreError(f"the encryption key {self.path} cannot be read: {error.strerror}{self._what_to_do()}") from None
        except ValueError as error:
            raise StoreError(f"the encryption key {self.path} cannot be used: {error}") from None

    def kept(self) -> EncryptionKeys:
        """As `read`; the one beside the database is made where there is none."""
        if not self.given and not self.path.exists():
            return self.add()
        return self.read()

    def add(self) -> EncryptionKeys:
        """Puts a new key before those that are there, at once or not at all. Raises StoreError."""
        older = self.read().keys if self.path.exists() else ()
        keys = EncryptionKeys(keys=(Hidden(secrets.token_bytes(KEY_BYTES)), *older))
        try:
            private_file.write(self.path, keys.text.decode("ascii"))
        except OSError as error:
            raise StoreError(f"the encryption key {self.path} cannot be written: {error.strerror}") from None
        return keys

    def _what_to_do(self) -> str:
        if self.given:
            return f"; `tulle store-key new {self.path}` makes one"
        return f". Put it back, or name the file that holds the key with {OPTION}"
