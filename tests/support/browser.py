"""A browser as far as signing in needs one: it follows redirections, keeps cookies, and fills in one form."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from http.cookies import SimpleCookie
from urllib.parse import urljoin, urlsplit


class Browser:
    """One person's: cookies by host and port, as the gateway and the provider are on different ones.

    `person` signs in where a form asks.
    """

    def __init__(self, port: int, person: str = "") -> None:
        self.person = person
        self.home = f"http://127.0.0.1:{port}"
        self.cookies: dict[str, dict[str, str]] = {}
        self.visited: list[str] = []

    def get(self, path: str, *, follow: bool = True, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        url = path if "://" in path else self.home + path
        for _ in range(10):
            status, told, body = self._once(url, headers=headers or {})
            if self.person and b'name="sub"' in body:
                status, told, body = self._once(url, f"sub={self.person}")
            if status != 302 or not follow:
                return status, told, body
            url = urljoin(url, told["location"])
        raise AssertionError(f"sent round in circles: {self.visited}")

    @property
    def own(self) -> dict[str, str]:
        """The cookies of the gateway."""
        return self.cookies.get(urlsplit(self.home).netloc, {})

    def _once(self, url: str, form: str = "", headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        self.visited.append(url)
        parts = urlsplit(url)
        own = self.cookies.setdefault(parts.netloc, {})
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        try:
            kept = {"cookie": "; ".join(f"{name}={value}" for name, value in own.items())} if own else {}
            sent = {"content-type": "application/x-www-form-urlencoded"} if form else {}
            where = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST" if form else "GET", where, form or None, headers={**kept, **sent, **(headers or {})})
            answer = connection.getresponse()
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    self._keep(own, value)
            return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def _keep(self, own: dict[str, str], text: str) -> None:
        for name, morsel in SimpleCookie(text).items():
            if morsel["expires"] or morsel["max-age"] == "0":
                own.pop(name, None)
            else:
                own[name] = text.split(";", maxsplit=1)[0].partition("=")[2]
