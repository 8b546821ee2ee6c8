"""Public keys of those who issue tokens, fetched from where RequestAuthentications say (RFC 7517; OpenID Connect Discovery 1.0, section 4).

Whoever may write such a document makes the control plane send a request. So none is sent to the addresses under which clouds keep a
machine's own credentials, redirections are not followed, answers are small, and nothing that is not a set of keys is kept or shown.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from tulle.logs import Log

REFRESH = 20 * 60.0
"""Seconds after which keys are fetched again (as in Istio)."""
RETRY = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds until the next try while it fails. Keys that were fetched before stay in force meanwhile."""
LARGEST = 1024 * 1024
_CLOSED = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"), ip_network("fd00:ec2::/32"))

_log = Log("key sets")


class UnusableError(Exception):
    """No keys were to be had; the message says why."""


@dataclass(slots=True)
class _Source:
    """What is known of one URI. Times are of the monotonic clock."""

    timeout: float
    due: float = 0.0
    failures: int = 0
    error: str = ""


class KeySets:
    """Keeps the key sets of the URIs that are `wanted`. `found` is a new mapping whenever it changes, of which `changed` is told."""

    def __init__(self, changed: Callable[[Mapping[str, str]], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.found: Mapping[str, str] = {}
        self._changed = changed
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._stirred = asyncio.Event()

    def want(self, uris: Mapping[str, float]) -> None:
        """The URIs that documents name from now on, each with its timeout in seconds."""
        if uris.keys() == self._sources.keys():
            return
        self._sources = {uri: self._sources.get(uri) or _Source(timeout=timeout) for uri, timeout in uris.items()}
        if gone := self.found.keys() - uris.keys():
            self._publish({uri: keys for uri, keys in self.found.items() if uri not in gone})
        self._stirred.set()

    def errors(self) -> Mapping[str, str]:
        """By URI, why the last try failed."""
        return {uri: source.error for uri, source in self._sources.items() if source.error}

    async def run(self) -> None:
        """Fetches what is due, until it is cancelled."""
        while True:
            self._stirred.clear()
            now = self._clock()
            for uri in [uri for uri, source in self._sources.items() if source.due <= now]:
                await self._renew(uri)
            rest = min((s.due for s in self._sources.values()), default=now + REFRESH) - self._clock()
            try:
                async with asyncio.timeout(max(rest, 0.0)):
                    await self._stirred.wait()
            except TimeoutError:
                pass

    async def _renew(self, uri: str) -> None:
        source = self._sources.get(uri)
        if source is None:
            return
        try:
            keys = await asyncio.to_thread(fetch, uri, source.timeout)
        except UnusableError as error:
            source.due = self._clock() + RETRY[min(source.failures, len(RETRY) - 1)]
            source.failures, source.error = source.failures + 1, str(error)
            _log.warning("no keys could be fetched; tokens that need them are refused", uri=uri, error=str(error))
            return
        source.due, source.failures, source.error = self._clock() + REFRESH, 0, ""
        if self.found.get(uri) != keys and uri in self._sources:
            self._publish({**self.found, uri: keys})

    def _publish(self, found: Mapping[str, str]) -> None:
        self.found = found
        self._changed(found)


def fetch(uri: str, timeout: float) -> str:
    """The set of keys at a URI, as JSON; where it is a discovery document, at the one that this names. Raises UnusableError."""
    said = _get(uri, timeout)
    if "keys" not in said and isinstance(said.get("jwks_uri"), str):
        said = _get(said["jwks_uri"], timeout)
    written = said.get("keys")
    keys = [key for key in written if _usable(key)] if isinstance(written, list) else []
    if not keys:
        raise UnusableError("what is there is not a set of public keys")
    return json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True)


_PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What the public keys of each type must have (RFC 7518, 6; RFC 8037, 2)."""


def _usable(key: object) -> bool:
    """Symmetric keys and those for encryption are none that tokens could be judged by."""
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return False
    parts = _PARTS.get(str(key.get("kty")), ())
    return bool(parts) and all(isinstance(key.get(part), str) and key[part] for part in parts)


def _get(uri: str, timeout: float) -> dict[str, Any]:
    """A JSON object. Raises UnusableError."""
    try:
        body = _body(uri, timeout)
        said = json.loads(body)
    except (OSError, http.client.HTTPException) as error:
        raise UnusableError(f"no answer: {str(error) or type(error).__name__}") from None
    except (ValueError, RecursionError):
        raise UnusableError("what is there is not JSON") from None
    if not isinstance(said, dict):
        raise UnusableError("what is there is not a JSON object")
    return said


def _body(uri: str, timeout: float) -> bytes:
    url = urlsplit(uri)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UnusableError("it is not a URL with http or https")
    connection = (
        http.client.HTTPSConnection(url.hostname, url.port, timeout=timeout, context=ssl.create_default_context())
        if url.scheme == "https"
        else http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
    )
    try:
        connection.connect()
        address = ip_address(connection.sock.getpeername()[0])
        if any(address in network for network in _CLOSED):
            raise UnusableError("addresses of the link are not asked")
        connection.request("GET", (url.path or "/") + (f"?{url.query}" if url.query else ""), headers={"accept": "application/json"})
        with connection.getresponse() as answer:
            if answer.status != http.client.OK:
                raise UnusableError(f"the answer is {answer.status}, not 200")
            body = answer.read(LARGEST + 1)
    finally:
        connection.close()
    if len(body) > LARGEST:
        raise UnusableError(f"the answer is longer than {LARGEST} bytes")
    return body
