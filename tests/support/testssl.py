"""What testssl.sh finds at a port."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from support.tls_client import program

CHECKS = ("--protocols", "--std", "--server-preference", "--server-defaults", "--headers", "--vulnerable")
"""All but what clients of the past would make of it, and the list of every cipher suite."""

_HARMLESS = {"DEBUG", "OK", "INFO", "LOW"}
_ABOUT_IT = {"engine_problem", "secure_renego", "scanTime"}
"""What the program says of itself, as its own OpenSSL lacks something."""
_TRIES = 3

needs_testssl = pytest.mark.skipif(not shutil.which("testssl"), reason="needs Debian's package testssl.sh")


async def findings(folder: Path, host: str, port: int, roots: str, checks: Collection[str] = CHECKS) -> list[dict[str, Any]]:
    """All of them. `roots`: the file of those whom a client would trust.

    Where the program's own client did not get through to make a check, it is asked again: that is no finding, and none is missed so.
    """
    found = await _asked(folder, f"found-{port}.json", host, port, roots, checks)
    for again in range(_TRIES):
        if not any("connect problem" in one["finding"] for one in found):
            break
        found = await _asked(folder, f"found-{port}-{again}.json", host, port, roots, checks)
    return found


async def _asked(folder: Path, name: str, host: str, port: int, roots: str, checks: Collection[str]) -> list[dict[str, Any]]:
    file = folder / name
    how = ("--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1", "--add-ca", roots)
    _, said = await program("testssl", *how, "--jsonfile", str(file), *checks, f"https://{host}:{port}/")
    assert file.exists(), said
    return list(json.loads(file.read_text()))


def serious(found: list[dict[str, Any]], meant: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """Those of medium severity or higher: severity, id and text. `meant`: ids of what is so on purpose."""
    others = [one for one in found if one["severity"] not in _HARMLESS and one["id"] not in {*_ABOUT_IT, *meant}]
    return [(one["severity"], one["id"], one["finding"]) for one in others]
