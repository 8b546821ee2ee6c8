"""An OpenID provider that somebody else made, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from support.carried import until

LIFE = 2
"""Seconds for which its tokens hold, unless told otherwise."""


@contextmanager
def provider(port: int, life: int = LIFE) -> Iterator[str]:
    """Asks clients to register; so it checks their secrets, and where they send people."""
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-registration=true", "--token-max-age", str(life)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/jwks"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def registered(issuer: str, *back: str) -> dict[str, str]:
    """A client that may send people to `back` alone."""
    return dict(httpx.post(f"{issuer}/oauth2/clients", json={"redirect_uris": back}, timeout=60).json())


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
