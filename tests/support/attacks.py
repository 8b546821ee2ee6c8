"""The published requests of attacks.yaml, ready to be sent."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

BROWSER = {"host": "shop.example", "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "accept": "text/html,*/*"}
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_TABLE = yaml.safe_load(Path(__file__).with_name("attacks.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Sent:
    path: str
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    type: str = FORM
    body: str = ""

    @property
    def verb(self) -> str:
        return self.method or ("POST" if self.body else "GET")

    @property
    def all_headers(self) -> dict[str, str]:
        """As a browser sends them."""
        more = {"content-type": self.type, "content-length": str(len(self.body.encode()))} if self.body else {}
        return {**BROWSER, **more, **self.headers}


def _of(entry: dict[str, Any]) -> Iterator[Sent]:
    for value in entry.get("values", ()):
        yield Sent(path=f"/find?{urlencode({'q': value})}")
        yield Sent(path="/form", body=urlencode({"name": "ann", "q": value}))
        yield Sent(path="/api/items", type=JSON, body=json.dumps({"id": 7, "q": value}))
    for request in entry.get("requests", ()):
        yield Sent(**request)


ATTACKS: dict[str, list[Sent]] = {kind: list(_of(entry)) for kind, entry in _TABLE["attacks"].items()}
ORDINARY: list[Sent] = list(_of(_TABLE["ordinary"]))


def send(port: int, sent: Sent) -> int:
    """The status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # some are refused before all is sent
            connection.request(sent.verb, sent.path, body=sent.body.encode() or None, headers=sent.all_headers)
        return connection.getresponse().status
    finally:
        connection.close()
