"""What is shown to a control plane, and by what it is known. Loads nothing: the command line begins with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from ssl import SSLContext

Connection: TypeAlias = "tuple[StreamReader, StreamWriter]"


class Kept:
    """Connections that stay open between requests. Those who ask at the same time have one each."""

    def __init__(self) -> None:
        self._idle: list[tuple[str, SSLContext | None, Connection]] = []

    def take(self, to: str, context: SSLContext | None) -> Connection | None:
        """One to that server which was made with these very credentials; those that were made with others are closed."""
        idle, self._idle = self._idle, []
        for place, made_with, (reader, writer) in idle:
            if made_with is not context or writer.is_closing() or reader.at_eof():
                writer.transport.abort()
            else:
                self._idle.append((place, made_with, (reader, writer)))
        found = next((one for one in self._idle if one[0] == to), None)
        if found:
            self._idle.remove(found)
        return found[2] if found else None

    def put(self, to: str, context: SSLContext | None, connection: Connection) -> None:
        self._idle.append((to, context, connection))

    def close(self) -> None:
        for _, _, (_, writer) in self._idle:
            writer.transport.abort()
        self._idle.clear()


class Credentials:
    """Asked for anew with each request. Here: nothing."""

    kept: Kept | None = None
    """Connections that stay open between requests; None where each request has one of its own."""

    def headers(self) -> Mapping[str, str]:
        return {}

    def context(self) -> SSLContext | None:
        """For TLS; None for what the machine trusts."""
        return None


NOBODY = Credentials()
