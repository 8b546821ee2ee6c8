"""Sends every line back with a word before it, so that one sees who answered."""

from __future__ import annotations

import asyncio

from tulle.demo.apps.serve import arguments, serve


class TcpEcho:
    """Serves connections until it is told to stop."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._writers: set[asyncio.StreamWriter] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self._writers.add(writer)
        try:
            async for line in reader:
                writer.write(self._prefix + b" " + line)
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def stop(self, grace: float) -> None:
        """Sends what was not sent yet, for up to `grace` seconds, and closes."""
        writers = tuple(self._writers)
        for writer in writers:
            writer.close()
        try:
            async with asyncio.timeout(grace):
                await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        except TimeoutError:
            return


def main() -> None:
    parser = arguments("tcp_echo", 9000)
    parser.add_argument("prefix", nargs="?", default="hello", help="the word before each line")
    options = parser.parse_args()
    echo = TcpEcho(options.prefix)
    serve(echo.connected, echo.stop, options)


if __name__ == "__main__":
    main()
