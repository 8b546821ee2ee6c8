"""Asks a control plane over its HTTP API."""

from __future__ import annotations

import http.client
import json
from http.client import HTTPConnection
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from tulle import __version__
from tulle.cli.credentials import FromEnvironment
from tulle.cli.failure import Failure

DEFAULT = "http://127.0.0.1:8500"
Server = Annotated[str, typer.Option("--server", envvar="TULLE_SERVER", help="Address of the control plane.", metavar="URL")]

Token = Annotated[str, typer.Option("--token", envvar="CONSUL_HTTP_TOKEN", help="Who asks, where access is controlled.", metavar="SECRET")]

_CONSUL_TOKENS = (
    "Consul's API has tokens of its own: give one with --token (CONSUL_HTTP_TOKEN). "
    "An admin makes the first of them, once: PUT /v1/acl/bootstrap with the admin's token as bearer."
)


def url_of(server: str) -> str:
    """Beyond loopback, control planes speak TLS unless they were told otherwise."""
    if "//" in server:
        return server
    from tulle.setting_texts import Address

    try:
        is_plain = Address.parse(server if server.rpartition(":")[2].isdecimal() else f"{server}:0").is_loopback
    except ValueError:
        is_plain = True
    return f"{'http' if is_plain else 'https'}://{server}"


class Client:
    """One control plane. Every method raises Failure, with exit code 2 when there is no control plane to ask."""

    def __init__(self, server: str, timeout: float = 60.0) -> None:
        parts = urlsplit(url_of(server))
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host:
            raise Failure(f"--server: {server!r} is not an address; write for example {DEFAULT}", 2)
        self._server = server
        self._known = FromEnvironment()
        self._connection = self._secure(host, port, timeout) if parts.scheme == "https" else HTTPConnection(host, port, timeout=timeout)

    def _secure(self, host: str, port: int | None, timeout: float) -> HTTPConnection:
        from tulle.secure import check_peer

        class Verified(http.client.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                check_peer(self.sock, host)

        return Verified(host, port, timeout=timeout, context=self._known.context())

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: object) -> Any:
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON. Documents with violations are an answer too (422); everything else above 299 is a Failure."""
        status, answer = self.exchange(method, path, body)
        if status > 299 and status != 422:
            raise Failure(str(answer.get("error", answer)), 2 if status in (400, 401, 403, 405, 413) else 1)
        return answer

    def exchange(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        try:
            return self._exchange(method, path, None if body is None else json.dumps(body).encode())
        except (OSError, http.client.HTTPException) as error:
            raise self._away(error) from None
        finally:
            self._connection.close()

    def consul(self, method: str, path: str, body: object = None, token: str = "") -> None:
        """A request of Consul's API that says nothing when it is done. Its refusals are plain text."""
        headers = {"content-type": "application/json", "user-agent": f"tulle/{__version__}"} | ({"x-consul-token": token} if token else {})
        try:
            self._connection.request(method, path, b"" if body is None else json.dumps(body).encode(), headers)
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._away(error) from None
        finally:
            self._connection.close()
        if response.status == 403 and not token:
            raise Failure(f"{text.strip()}\n{_CONSUL_TOKENS}")
        if response.status > 299:
            raise Failure(text.strip() or f"the control plane answered {response.status}", 2 if response.status == 400 else 1)

    def _away(self, error: Exception) -> Failure:
        from ssl import SSLError

        from tulle.secure import explained

        reason = explained(error, self._server) if isinstance(error, OSError) else str(error) or type(error).__name__
        if isinstance(error, SSLError | ConnectionResetError | BrokenPipeError):
            return Failure(reason, 2)
        return Failure(
            f"no control plane answers at {self._server} ({reason}).\nStart one with `tulle up` (with gateway and workloads) "
            "or `tulle control`, or name another with --server URL (TULLE_SERVER).",
            2,
        )

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        headers = {"content-type": "application/json", "accept": "application/json", "user-agent": f"tulle/{__version__}"}
        self._connection.request(method, path, body, {**headers, **self._known.headers()})
        response = self._connection.getresponse()
        text = response.read()
        try:
            return response.status, json.loads(text)
        except ValueError:
            raise Failure(f"what answers at {self._server} is no control plane of Tulle (status {response.status})", 2) from None
