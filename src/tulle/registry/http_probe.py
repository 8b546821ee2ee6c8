"""HTTP checks: one request on a new connection, redirects followed."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import httptools

from tulle.registry import checks
from tulle.registry.catalog import Probe
from tulle.registry.checks import Outcome, Result
from tulle.registry.dialling import dialled, tls

REDIRECTS = 10
_REDIRECTING = (301, 302, 303, 307, 308)
_READ = 65536
_DEFAULTS = {"User-Agent": "Consul Health Check", "Accept": "text/plain, text/*, */*"}


class _Answer:
    """What a server says; of its body only so much as is shown."""

    def __init__(self, limit: int) -> None:
        self.location = ""
        self.body = b""
        self.captured = 0
        self.complete = False
        self._limit = limit
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"location":
            self.location = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.captured += len(data)
        self.body = (self.body + data)[-self._limit :] if self._limit else b""

    def on_message_complete(self) -> None:
        self.complete = True


async def http(probe: Probe) -> Result:
    """2xx passes, 429 warns, all else fails. Raises OSError, ValueError."""
    url, method = probe.http, (probe.method or "GET").upper()
    for _ in range(REDIRECTS + 1):
        answer = await _get(url, method, probe)
        status = answer.parser.get_status_code()
        if probe.disable_redirects or status not in _REDIRECTING or not answer.location:
            return _result(answer, status, probe)
        url = urljoin(url, answer.location)
        method = method if status in (307, 308) or method == "HEAD" else "GET"
    return Result(outcome=Outcome.FAILING, output=f"HTTP {method} {probe.http}: stopped after {REDIRECTS} redirects")


def _result(answer: _Answer, status: int, probe: Probe) -> Result:
    outcome = Outcome.PASSING if 200 <= status < 300 else Outcome.WARNING if status == 429 else Outcome.FAILING
    shown = checks.last_bytes(answer.body, probe.output_max_size, answer.captured)
    return Result(outcome=outcome, output=f"HTTP {probe.method or 'GET'} {probe.http}: {status} {_phrase(status)} Output: {shown}")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


async def _get(url: str, method: str, probe: Probe) -> _Answer:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an HTTP URL")
    secure = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    answer = _Answer(probe.output_max_size)
    async with dialled(f"{host}:{parts.port or (443 if secure else 80)}", probe, tls(probe) if secure else None) as (reader, writer):
        writer.write(_request(parts.path or "/", parts.query, parts.netloc.rpartition("@")[2], method, probe))
        try:
            while not answer.complete and (data := await reader.read(_READ)):
                answer.parser.feed_data(data)
                if method == "HEAD" and b"\r\n\r\n" in data:
                    break
        except httptools.HttpParserError as error:
            raise ValueError(f"not an HTTP answer: {error}") from None
    if not answer.parser.get_status_code():
        raise ConnectionError("the connection was closed without an answer")
    return answer


def _request(path: str, query: str, host: str, method: str, probe: Probe) -> bytes:
    given = {name: values for name, values in probe.header.items() if name.lower() not in ("content-length", "connection")}
    names = {name.lower() for name in given}
    lines = [f"{method} {path}{'?' + query if query else ''} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, values in given.items() for value in values]
    lines += [f"{name}: {value}" for name, value in (_DEFAULTS | {"Host": host}).items() if name.lower() not in names]
    body = probe.body.encode()
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    if any(not line.isprintable() for line in lines):
        raise ValueError("the address or a header of the check has characters that HTTP does not allow")
    return "\r\n".join([*lines, "", ""]).encode() + body
