"""What the tour asks of a control plane, over its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tulle.demo.apps.client import Client, UnavailableError

WAIT = "60s"
"""How long the proxies get to take over a change."""


class RefusedError(Exception):
    """The control plane would not do it, or the proxies did not follow. The message says what it said."""


class Api:
    """The API at `base`, such as `http://127.0.0.1:8500`."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._client = Client(proxy="")

    async def ready(self) -> str:
        """Why the control plane does not serve yet; empty when it does."""
        try:
            answer = await self._client.get(f"{self._base}/readyz", timeout=5)
        except UnavailableError:
            return "the control plane does not answer yet"
        return "" if answer.status == 200 else answer.body.decode().strip()

    async def apply(self, documents: Mapping[str, str]) -> None:
        """Applies texts by their names, and waits until all proxies have taken them over."""
        await self._change("apply", {"files": _files(documents)})

    async def delete(self, documents: Mapping[str, str]) -> None:
        """Takes the documents in the texts out of force, and waits until all proxies know."""
        await self._change("delete", {"files": _files(documents)})

    async def proxies(self) -> Sequence[Mapping[str, Any]]:
        """The connected proxies."""
        found = (await self._ask("GET", "/api/v1/proxies", None))["proxies"]
        return list(found)

    async def endpoints(self) -> Sequence[Mapping[str, Any]]:
        """All instances of all services."""
        return list((await self._ask("GET", "/api/v1/endpoints", None))["endpoints"])

    def close(self) -> None:
        self._client.close()

    async def _change(self, verb: str, body: Mapping[str, object]) -> None:
        report = await self._ask("POST", f"/api/v1/{verb}", {**body, "wait": WAIT})
        followed = report["acknowledged"]
        if not followed["complete"]:
            raise RefusedError(f"after {WAIT} only {followed['acknowledged']} of {followed['proxies']} proxies have acknowledged")

    async def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> Mapping[str, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        headers = (("content-type", "application/json"),) if data else ()
        try:
            answer = await self._client.request(method, self._base + path, headers, data, timeout=90)
        except UnavailableError as error:
            raise RefusedError(f"the control plane does not answer: {error}") from error
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise RefusedError(f"{method} {path} was answered with {answer.status}: {answer.body.decode('utf-8', 'replace')[:2000]}")
        return document


def _files(documents: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"path": path, "text": text} for path, text in documents.items()]
