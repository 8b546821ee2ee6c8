"""The store at rest: nothing of a value can be read from its files, and nothing is lost without its key."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.contract import StoreContract
from support.sqlite import sqlite_harness
from tulle.model.tls import Hidden
from tulle.store.key_file import KeyFile
from tulle.store.port import StoreError
from tulle.store.seal import EncryptionKeys, Seal, SealError, parse_keys
from tulle.store.sqlite import open_sqlite

SECRET = b"the-key-of-shop.example.com" * 40
ONE, TWO = (EncryptionKeys(keys=(Hidden(bytes([n]) * 32),)) for n in (1, 2))
BOTH = EncryptionKeys(keys=(*TWO.keys, *ONE.keys))


class TestEncryptedContract(StoreContract):
    def opened(self, folder: Path) -> object:  # type: ignore[override]
        return sqlite_harness(folder / "tulle.db", KeyFile.of("", folder / "tulle.db"))


# === one value


@given(st.text(), st.binary())
def test_what_is_sealed_can_be_opened(name: str, value: bytes) -> None:
    sealed = Seal(ONE, b"s" * 16).seal(name, value)
    assert Seal(BOTH, b"t" * 16).open(name, sealed) == value
    assert not Seal(BOTH, b"t" * 16).is_current(sealed)


def test_equal_values_look_different() -> None:
    seal = Seal(ONE, b"s" * 16)
    again = Seal(ONE, b"t" * 16)
    assert len({seal.seal("a", b"x"), seal.seal("a", b"x"), again.seal("a", b"x")}) == 3


def test_a_value_under_another_name_is_refused() -> None:
    seal = Seal(ONE, b"s" * 16)
    with pytest.raises(SealError, match="the value of b was changed"):
        seal.open("b", seal.seal("a", b"x"))


def test_every_byte_counts() -> None:
    seal = Seal(ONE, b"s" * 16)
    sealed = seal.seal("a", b"xyz")
    for place in range(len(sealed)):
        broken = bytearray(sealed)
        broken[place] ^= 1
        with pytest.raises(SealError):
            seal.open("a", bytes(broken))
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            seal.open("a", sealed[:length])


def test_keys_do_not_show_themselves() -> None:
    assert "AQEB" not in repr(ONE)
    assert parse_keys(ONE.text) == ONE
    assert parse_keys(b"# of May\n\n" + BOTH.text) == BOTH


@pytest.mark.parametrize(
    ("text", "why"), [(b"", "holds no key"), (b"hush", "line 1 is not a key: 32 bytes in base64"), (b"# a\naHVzaA==", "line 2 is not")]
)
def test_a_file_of_keys_that_is_none_is_told(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as told:
        parse_keys(text)
    assert "hush" not in str(told.value)
    assert "aHVz" not in str(told.value)


# === the files


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("t.db*")) if not path.name.endswith(".key"))


async def put(path: Path, keys: KeyFile | None, *names: str, value: bytes = SECRET) -> None:
    async with open_sqlite(path, time.monotonic, keys) as store:
        for name in names:
            await store.put(name, value)


async def values(path: Path, keys: KeyFile | None) -> dict[str, bytes]:
    async with open_sqlite(path, time.monotonic, keys) as store:
        return {entry.key: entry.value for entry in (await store.range("")).entries}


def test_no_file_holds_a_value(tmp_path: Path) -> None:
    path = tmp_path / "t.db"

    async def run() -> None:
        async with open_sqlite(path, time.monotonic, KeyFile.of("", path)) as store:
            await store.put("secrets/shop", SECRET)
            assert SECRET[:27] not in on_disk(tmp_path), "while it is open"
            assert b"secrets/shop" in on_disk(tmp_path), "names are no secret"

    asyncio.run(run())
    assert SECRET[:27] not in on_disk(tmp_path)
    assert stat.S_IMODE((tmp_path / "t.db.key").stat().st_mode) == 0o600
    assert asyncio.run(values(path, KeyFile.of("", path))) == {"secrets/shop": SECRET}


def test_values_from_before_are_encrypted_and_wiped(tmp_path: Path) -> None:
    """What was deleted from the plain file is gone from it, too."""
    path = tmp_path / "t.db"

    async def before() -> None:
        async with open_sqlite(path, time.monotonic) as store:
            for number in range(200):
                await store.put(f"gone/{number}", SECRET)
            for number in range(200):
                await store.delete(f"gone/{number}")
            await store.put("kept", SECRET)

    asyncio.run(before())
    assert SECRET[:27] in on_disk(tmp_path)
    keys = KeyFile.of("", path)
    asyncio.run(put(path, keys, "more"))
    assert SECRET[:27] not in on_disk(tmp_path)
    assert asyncio.run(values(path, keys)) == {"kept": SECRET, "more": SECRET}


def test_a_wipe_that_was_cut_short_is_done_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    keys = KeyFile.of("", path)
    asyncio.run(put(path, keys, "a"))
    other = sqlite3.connect(path)
    other.execute("PRAGMA secure_delete = OFF")
    with other:
        other.execute("INSERT INTO meta VALUES ('sweep', 1)")
        other.execute("CREATE TABLE waste (text BLOB)")
        other.execute("INSERT INTO waste VALUES (?)", (SECRET,))
        other.execute("DELETE FROM waste")
    other.close()
    assert SECRET[:27] in on_disk(tmp_path)
    assert asyncio.run(values(path, keys)) == {"a": SECRET}
    assert SECRET[:27] not in on_disk(tmp_path)


def test_a_new_first_key_takes_over_and_the_old_one_may_go(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    keys = KeyFile.of("", path)
    asyncio.run(put(path, keys, "a", "b"))
    old = keys.read()
    both = keys.add()
    assert both.keys[1:] == old.keys
    assert asyncio.run(values(path, keys)) == {"a": SECRET, "b": SECRET}
    keys.path.write_bytes(EncryptionKeys(keys=both.keys[:1]).text)
    assert asyncio.run(values(path, keys)) == {"a": SECRET, "b": SECRET}
    assert bytes.fromhex(old.ids[0]) not in on_disk(tmp_path)


def test_without_its_key_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    keys = KeyFile.of("", path)
    asyncio.run(put(path, keys, "a"))
    right, before = keys.path.read_bytes(), path.read_bytes()
    keys.path.unlink()
    with pytest.raises(StoreError, match=r"encryption key .*t\.db\.key cannot be read: No such file.*Put it back, or name the file"):
        asyncio.run(values(path, keys))
    with pytest.raises(StoreError, match=r"t\.db cannot be opened: its values are encrypted: name the file of the key with --encryption"):
        asyncio.run(values(path, None))
    given = tmp_path / "mine.key"
    KeyFile.of(str(given), path).add()
    with pytest.raises(StoreError, match=rf"encrypted with the key {parse_keys(right).ids[0]}, which is not among the keys given"):
        asyncio.run(values(path, KeyFile.of(str(given), path)))
    assert path.read_bytes() == before
    keys.path.write_bytes(right)
    keys.path.chmod(0o600)
    assert asyncio.run(values(path, keys)) == {"a": SECRET}


def test_a_value_that_was_tampered_with_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    keys = KeyFile.of("", path)
    asyncio.run(put(path, keys, "a", "b"))
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE entries SET value = (SELECT value FROM entries WHERE key = 'a') WHERE key = 'b'")
    other.close()
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be read: the value of b was changed by somebody"):
            asyncio.run(values(path, keys))


def test_a_key_that_all_may_read_is_refused(tmp_path: Path) -> None:
    keys = KeyFile.of(str(tmp_path / "k"), "")
    keys.add()
    keys.path.chmod(0o604)
    with pytest.raises(StoreError, match="can be read by others; chmod 600 it"):
        keys.read()


def test_the_operators_own_file_is_never_made(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(StoreError, match=f"`tulle store-key new {missing}` makes one"):
        asyncio.run(values(tmp_path / "t.db", KeyFile.of(str(missing), tmp_path / "t.db")))
    assert not missing.exists()
