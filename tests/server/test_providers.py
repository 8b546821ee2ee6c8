"""What OpenID providers tell of themselves, fetched from a real HTTP server; and what is not believed."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.served import serving
from tulle.model.logins import Provider
from tulle.server.fetching import UnusableError
from tulle.server.providers import fetch

PATH = "/.well-known/openid-configuration"


def told(base: str, at: str = "", **more: object) -> Provider:
    pages: dict[str, tuple[int, bytes]] = {}
    with serving(pages) as home:
        usual = {"issuer": home + at, "authorization_endpoint": f"{home}/authorize", "token_endpoint": f"{home}/token"}
        said = {name: value for name, value in {**usual, **more}.items() if value is not None}
        pages[base + PATH] = (200, json.dumps(said).replace("HOME", home).encode())
        found = asyncio.run(fetch(home + base + PATH, 60))
        return Provider(
            authorization_endpoint=found.authorization_endpoint.replace(home, ""),
            token_endpoint=found.token_endpoint.replace(home, ""),
            end_session_endpoint=found.end_session_endpoint.replace(home, ""),
            basic=found.basic,
        )


def test_endpoints_and_how_the_client_shows_its_secret() -> None:
    assert told("") == Provider(authorization_endpoint="/authorize", token_endpoint="/token", basic=True)
    methods = ["private_key_jwt", "client_secret_post"]
    full = told("/realms/a", "/realms/a", end_session_endpoint="HOME/logout", token_endpoint_auth_methods_supported=methods)
    assert (full.end_session_endpoint, full.basic) == ("/logout", False)


def test_an_issuer_may_end_with_a_slash() -> None:
    assert told("", "/").token_endpoint == "/token"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"issuer": "https://other.example"}, "about another issuer"),
        ({"issuer": "HOME.evil.example"}, "about another issuer"),
        ({"issuer": None}, "about another issuer"),
        ({"token_endpoint": None}, "names no token_endpoint"),
        ({"authorization_endpoint": 7}, "names no authorization_endpoint"),
        ({"authorization_endpoint": "HOME/a b"}, "names no authorization_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint is no URL"),
        ({"token_endpoint": "file:///etc/passwd"}, "token_endpoint is no URL"),
        ({"token_endpoint": "https://user:word@x.example/"}, "token_endpoint is no URL"),
        ({"token_endpoint": "https://x.example:99999/"}, "token_endpoint is no URL"),
        ({"end_session_endpoint": "HOME/#x"}, "end_session_endpoint is no URL"),
    ],
)
def test_what_is_not_believed(more: dict[str, object], why: str) -> None:
    with pytest.raises(UnusableError, match=why):
        told("", **more)


def test_nobody_is_sent_from_https_to_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an issuer with https, which a test on loopback has no certificate for: its answer is given here."""
    said = {"issuer": "https://x.example", "authorization_endpoint": "https://x.example/a", "token_endpoint": "http://x.example/token"}

    async def answer(_uri: str, _timeout: float, _reach: object) -> dict[str, object]:
        return said

    monkeypatch.setattr("tulle.server.providers.json_object", answer)
    with pytest.raises(UnusableError, match="token_endpoint is no URL with https"):
        asyncio.run(fetch(f"https://x.example{PATH}", 5))
