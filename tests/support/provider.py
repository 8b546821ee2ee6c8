"""A small OpenID provider, of one test: the code flow with PKCE (RFC 7636), and refresh tokens. Whoever asks is signed in as `ann`."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from support.tokens import Issuer


class Provider(ThreadingHTTPServer):
    """`refused` says why it answered an error, `redeemed` holds the codes that were turned into tokens."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, client: str, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.client, self.secret, self.url = client, secret, f"http://127.0.0.1:{self.server_address[1]}"
        self.issuer = Issuer(self.url)
        self.codes: dict[str, dict[str, str]] = {}
        self.redeemed: list[str] = []
        self.refused: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_GET(self) -> None:
        asked = dict(parse_qsl(urlsplit(self.path).query))
        wrong = [name for name, value in (("client_id", self.server.client), ("response_type", "code")) if asked.get(name) != value]
        if wrong or "openid" not in asked.get("scope", "").split():
            return self._answer(400, f"authorize: {wrong} {asked}")
        code = f"code-{len(self.server.codes)}"
        self.server.codes[code] = asked
        back = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        return self._answer(302, "", location=back)

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        asked = self.server.codes.pop(form.get("code", ""), None)
        if (form.get("client_id"), form.get("client_secret")) != (self.server.client, self.server.secret):
            return self._answer(401, "token: not the client's secret")
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return self._answer(400, "token: not a code, or not for this redirect_uri")
        proof = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if asked.get("code_challenge") != proof:
            return self._answer(400, "token: not who asked for the code")
        self.server.redeemed.append(form["code"])
        access, told = self.server.issuer.token(aud="shop"), self.server.issuer.token(aud=self.server.client)
        answer = {"access_token": access, "id_token": told, "token_type": "Bearer", "expires_in": 300}
        return self._answer(200, json.dumps(answer), kind="application/json")

    def _answer(self, status: int, body: str, *, location: str = "", kind: str = "text/plain") -> None:
        if status >= 400:
            self.server.refused.append(body)
        self.send_response(status)
        for name, value in (("location", location), ("content-type", kind), ("content-length", str(len(body)))):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def provider(client: str, secret: str) -> Iterator[Provider]:
    server = Provider(client, secret)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="provider")
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
