"""Chromium without a window, told what to do over WebDriver (W3C WebDriver, sections 8 to 12). It is a browser as people have it."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.carried import until
from support.running import free_port

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Under this name a driver tells of elements, as the standard fixes it."""
_PATIENCE = 180
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--host-resolver-rules=MAP *.test 127.0.0.1")
"""Names that end in `.test` are this machine."""
installed = pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromium and its driver (Debian: chromium-driver)")


class RealBrowser:
    """One page of it."""

    def __init__(self, driver: int) -> None:
        self._driver = driver
        options = {"acceptInsecureCerts": True, "goog:chromeOptions": {"args": list(ARGUMENTS)}}
        self._session = ""
        self._session = f"/session/{self._said('POST', '/session', {'capabilities': {'alwaysMatch': options}})['sessionId']}"

    def open(self, url: str) -> None:
        """Back once the page, and all that it sent the browser to, is loaded."""
        self._said("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._said("GET", "/url"))

    @property
    def text(self) -> str:
        """Of the page, as people read it."""
        return str(self._said("GET", f"{self._found('body')}/text"))

    @property
    def cookies(self) -> dict[str, dict[str, Any]]:
        """Those of the page's site, by name."""
        return {cookie["name"]: cookie for cookie in self._said("GET", "/cookie")}

    def fill(self, field: str, text: str) -> None:
        """A field of a form, by its CSS selector."""
        self._said("POST", f"{self._found(field)}/value", {"text": text})

    def press(self, button: str) -> None:
        self._said("POST", f"{self._found(button)}/click", {})

    def close(self) -> None:
        self._said("DELETE", "")

    def _found(self, selector: str) -> str:
        return f"/element/{self._said('POST', '/element', {'using': 'css selector', 'value': selector})[_ELEMENT]}"

    def _said(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._driver, timeout=_PATIENCE)
        try:
            connection.request(method, self._session + path, None if body is None else json.dumps(body))
            answer = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{method} {path}: {answer['error']}: {answer['message'][:500]}")
        return answer


@contextmanager
def real_browser() -> Iterator[RealBrowser]:
    """It ends with the block, and its driver too."""
    port = free_port()
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port))
        browser = RealBrowser(port)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait(60)


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/status")
        return bool(json.loads(connection.getresponse().read())["value"]["ready"])
    except OSError:
        return False
    finally:
        connection.close()
