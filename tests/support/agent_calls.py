"""Single calls to the HTTP port of a running control plane."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from support.running import Place


async def call(place: Place, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and body, the body read if it is JSON."""
    data = b"" if body is None else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", place.api)
    request = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(request.encode() + data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, text = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(text) if text[:1] in ("{", "[") else text
