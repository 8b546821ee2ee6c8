"""`tulle store-key`, and a control plane with the operator's own key."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from support.running import Place, running

DOCUMENT = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {word: open-sesame}\n"


def test_a_key_is_given_changed_and_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        key = tmp_path / "keys" / "store.key"
        code, said = await place.tulle("store-key", "new", str(key))
        assert (code, said.split()[0], stat.S_IMODE(key.stat().st_mode)) == (0, "key", 0o600), said
        await with_key(place, key, "created")
        assert b"open-sesame" not in b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir() if file.is_file())
        assert not (tmp_path / "state" / "tulle.db.key").exists()
        code, said = await place.tulle("store-key", "new", str(key))
        assert "keep the others until the control plane has started again" in said
        code, said = await place.tulle("store-key", "list", str(key))
        names = [line.split() for line in said.splitlines()[1:]]
        assert [use for _, use in names] == ["encrypts", "decrypts"]
        await with_key(place, key, "unchanged")
        first, second = key.read_text().splitlines()
        key.write_text(second)
        code, said = await place.tulle("control", "--encryption-key-file", str(key))
        assert (code, f"values are encrypted with the key {names[0][0]}, which is not among the keys given" in said) == (1, True), said
        assert [word for word in (first, second) if word in said] == []
        key.write_text(first)
        await with_key(place, key, "unchanged")
        code, said = await place.tulle("control")
        assert (code, "tulle.db.key cannot be read" in said, "--encryption-key-file" in said) == (1, True, True), said

    async def with_key(place: Place, key: Path, outcome: str) -> None:
        """What was put in before is there, and can be put in again."""
        environment = place.environment | {"TULLE_ENCRYPTION_KEY_FILE": str(key)}
        path = place.write("a.yaml", DOCUMENT)
        async with running(place, "control", environment=environment):
            await place.until("/api/v1/version", bool)
            code, said = await place.tulle("apply", "-f", str(path))
            assert (code, f"secret/a {outcome}" in said) == (0, True), said

    asyncio.run(run())


@pytest.mark.parametrize(("text", "said"), [("", "holds no key"), ("short", "line 1 is not a key"), (None, "No such file or directory")])
def test_a_file_that_holds_no_keys_is_told(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "k"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)

    async def run() -> None:
        code, told = await Place(folder=tmp_path).tulle("store-key", "list", str(path))
        assert (code, said in told) == (2, True), told

    asyncio.run(run())
