"""A WebSocket that sends every message back (RFC 6455)."""

from __future__ import annotations

import asyncio
import base64
import hashlib

from tulle.demo.apps.http import BODY_LIMIT, Request, Response, json_response

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE, PING, PONG = 8, 9, 10


def accept(request: Request) -> Response:
    """Answers the opening handshake; the connection is an echo from then on."""
    key = request.header("sec-websocket-key")
    if request.header("upgrade").lower() != "websocket" or not key:
        return json_response({"error": "this path speaks WebSocket"}, 426)
    digest = hashlib.sha1((key + GUID).encode(), usedforsecurity=False).digest()
    headers = (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", base64.b64encode(digest).decode()))
    return Response(status=101, headers=headers, takeover=echo)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Frame by frame until the peer closes. Fragments of a message go back as the fragments they are."""
    while True:
        first, payload = await read_frame(reader)
        opcode = first & 0x0F
        if opcode != PONG:
            writer.write(frame(0x80 | PONG if opcode == PING else first, payload))
            await writer.drain()
        if opcode == CLOSE:
            return


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The first byte (flags and opcode) and the unmasked payload of the next frame."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    if size > BODY_LIMIT or not second & 0x80:
        raise ConnectionError("a client's frames are masked and of bounded size")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    stream = int.from_bytes(mask * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    return first, (int.from_bytes(payload, "big") ^ stream).to_bytes(size, "big")


def frame(first: int, payload: bytes) -> bytes:
    """A server's frame: not masked."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    wide = size > 0xFFFF
    return bytes((first, 127 if wide else 126)) + size.to_bytes(8 if wide else 2, "big") + payload
