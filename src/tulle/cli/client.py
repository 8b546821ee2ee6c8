"""Asks a control plane over its HTTP API."""

from __future__ import annotations

import http.client
import json
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from tulle import __version__
from tulle.cli.credentials import credentials
from tulle.cli.failure import Failure

DEFAULT = "http://127.0.0.1:8500"
Server = Annotated[str, typer.Option("--server", envvar="TULLE_SERVER", help="Address of the control plane.", metavar="URL")]

Token = Annotated[str, typer.Option("--token", envvar="CONSUL_HTTP_TOKEN", help="Who asks, where access is controlled.", metavar="SECRET")]


class Client:
    """One control plane. Every method raises Failure, with exit code 2 when there is no control plane to ask."""

    def __init__(self, server: str, timeout: float = 60.0) -> None:
        parts = urlsplit(server if "//" in server else f"http://{server}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host:
            raise Failure(f"--server: {server!r} is not an address; write for example {DEFAULT}", 2)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._server = server
        self._connection = kind(host, port, timeout=timeout)

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
        if response.status > 299:
            raise Failure(text.strip() or f"the control plane answered {response.status}", 2 if response.status == 400 else 1)

    def _away(self, error: Exception) -> Failure:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Failure(
            f"no control plane answers at {self._server} ({reason}).\nStart one with `tulle up` (with gateway and workloads) "
            "or `tulle control`, or name another with --server URL (TULLE_SERVER).",
            2,
        )

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        headers = {"content-type": "application/json", "accept": "application/json", "user-agent": f"tulle/{__version__}"}
        self._connection.request(method, path, body, {**headers, **credentials()})
        response = self._connection.getresponse()
        text = response.read()
        try:
            return response.status, json.loads(text)
        except ValueError:
            raise Failure(f"what answers at {self._server} is no control plane of Tulle (status {response.status})", 2) from None
