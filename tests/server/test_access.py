"""The door of the API: who gets in with which token, and where a token's power ends."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import FINGERPRINT, Api, running_api
from support.documents import BAD, virtual_service
from tulle.model.resource import Origin, Violation
from tulle.server.access.caller import Role
from tulle.server.access.first import first_token
from tulle.server.access.tokens import Token, Tokens, follow_ends
from tulle.store.port import StoreError
from tulle.store.sqlite import open_sqlite

FOREIGN = virtual_service().replace("name: reviews", "name: reviews\n  namespace: bank", 1)
OWN = FOREIGN.replace("namespace: bank", "namespace: shop")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(tmp_path: Path, clock: Clock) -> Iterator[Api]:
    with running_api(tmp_path, guarded=True, now=clock) as running:
        yield running


def ask(api: Api, token: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    return api.request(method, path, body, {"authorization": f"Bearer {token}"} if token else {})


def made(api: Api, by: str = "", **wanted: object) -> str:
    status, answer = ask(api, by or api.first, "POST", "/api/v1/tokens", wanted)
    assert status == 201, answer
    return str(answer["token"])


def applied(text: str) -> dict[str, Any]:
    return {"files": [{"path": "x.yaml", "text": text}]}


def test_without_a_token_nothing_of_the_api_is_told(api: Api) -> None:
    for path in ("/api/v1/resources", "/api/v1/tokens", "/api/v1/ca", "/api/v1/version", "/api/v1/nothing"):
        status, answer = api.request("GET", path)
        assert (status, sorted(answer)) == (401, ["error", "violations"])
        assert "tulle token create" in answer["error"]
    assert api.request("GET", "/healthz")[0] == 200
    assert api.request("GET", "/readyz")[0] == 200


def test_a_token_is_taken_as_bearer_and_in_consuls_header(api: Api) -> None:
    for headers in ({"authorization": f"Bearer {api.first}"}, {"authorization": f"bearer {api.first}"}, {"x-consul-token": api.first}):
        assert api.request("GET", "/api/v1/version", headers=headers)[0] == 200


def test_forged_tokens_are_refused(api: Api) -> None:
    kind, identifier, secret = api.first.split(".")
    forged = ["x", "..", f"{kind}.{identifier}.", f"{kind}..{secret}", f"{kind}.{identifier}.{secret}x", f"{kind}.other.{secret}"]
    forged += [f"tulle-join.{identifier}.{secret}.", f"{kind}.../documents.{secret}", f"{kind}.{identifier}.{secret[:-1]}", "é" * 8]
    for text in forged:
        assert ask(api, text.encode().decode("latin-1"), "GET", "/api/v1/version")[0] == 401, text


@pytest.mark.parametrize(
    ("role", "status"),
    [("viewer", (200, 200, 403, 403, 403, 403)), ("operator", (200, 200, 200, 200, 403, 403)), ("admin", (200, 200, 200, 200, 200, 404))],
)
def test_a_role_may_do_so_much_and_no_more(api: Api, role: str, status: tuple[int, ...]) -> None:
    token = made(api, role=role)
    requests = (
        ("GET", "/api/v1/resources", None),
        ("POST", "/api/v1/validate", applied(OWN)),
        ("POST", "/api/v1/apply", applied(OWN)),
        ("PUT", "/api/v1/registrations/web-1", {"service": "web"}),
        ("GET", "/api/v1/tokens", None),
        ("POST", "/api/v1/what-is-not-known", None),
    )
    assert tuple(ask(api, token, *request)[0] for request in requests) == status


def test_a_token_for_a_namespace_ends_there(api: Api) -> None:
    assert ask(api, api.first, "POST", "/api/v1/apply", applied(FOREIGN))[0] == 200
    shop = made(api, role="operator", namespaces=["shop"])
    assert ask(api, shop, "POST", "/api/v1/apply", applied(OWN))[0] == 200
    refused = (
        ("POST", "/api/v1/apply", applied(OWN + "---\n" + FOREIGN)),
        ("POST", "/api/v1/apply", {**applied(virtual_service("more")), "namespace": "bank"}),
        ("POST", "/api/v1/apply", applied(BAD)),
        ("POST", "/api/v1/apply", {**applied(OWN), "expect": {"VirtualService/bank/reviews": 1}}),
        ("POST", "/api/v1/diff", applied(FOREIGN)),
        ("POST", "/api/v1/delete", applied(FOREIGN)),
        ("POST", "/api/v1/delete", {"resources": [{"kind": "vs", "namespace": "bank", "name": "reviews"}]}),
        ("GET", "/api/v1/resources/vs/bank/reviews", None),
        ("GET", "/api/v1/proxy-config?namespace=bank", None),
        ("GET", "/api/v1/mtls", None),
        ("GET", "/api/v1/tokens", None),
    )
    for method, path, body in refused:
        status, answer = ask(api, shop, method, path, body)
        assert (status, bool(answer["error"])) == (403, True), (method, path, answer)
    assert [i["metadata"]["namespace"] for i in ask(api, shop, "GET", "/api/v1/resources")[1]["items"]] == ["shop"]
    assert len(ask(api, api.first, "GET", "/api/v1/resources")[1]["items"]) == 2


def test_what_would_break_in_other_namespaces_is_not_shown(api: Api) -> None:
    shop = made(api, role="operator", namespaces=["shop"])
    api.mesh.arising = [Violation(origin=Origin(), resource="Gateway/edge", message=home, namespace=home) for home in ("shop", "bank", "")]
    for path, body in (("apply", {**applied(OWN), "dryRun": True}), ("diff", applied(OWN))):
        seen = {
            token: [w["message"] for w in ask(api, token, "POST", f"/api/v1/{path}", body)[1]["warnings"]] for token in (shop, api.first)
        }
        assert seen == {shop: ["shop"], api.first: ["shop", "bank", ""]}


def test_a_registration_of_another_namespace_cannot_be_taken_over(api: Api) -> None:
    path = "/api/v1/registrations/web-1"
    assert ask(api, api.first, "PUT", path, {"service": "web", "namespace": "bank"})[0] == 200
    shop = made(api, role="operator", namespaces=["shop"])
    for method, body in (
        ("PUT", {"service": "web", "namespace": "shop"}),
        ("PUT", {"service": "web", "namespace": "bank"}),
        ("DELETE", None),
    ):
        assert ask(api, shop, method, path, body)[0] == 403
    assert ask(api, shop, "GET", path)[0] == 404
    assert ask(api, shop, "GET", "/api/v1/registrations")[1]["registrations"] == []
    assert ask(api, shop, "PUT", "/api/v1/registrations/own", {"service": "web", "namespace": "shop"})[0] == 200


def test_an_admin_of_a_namespace_makes_tokens_for_it_alone(api: Api) -> None:
    shop = made(api, role="admin", namespaces=["shop"])
    wide = made(api, role="viewer", name="wide")
    made(api, shop, role="operator", namespaces=["shop"])
    for wanted in ({"role": "viewer"}, {"role": "admin", "namespaces": ["shop", "bank"]}, {"for": "bank/web"}):
        assert ask(api, shop, "POST", "/api/v1/tokens", wanted)[0] == 403
    assert {tuple(one["namespaces"]) for one in ask(api, shop, "GET", "/api/v1/tokens")[1]["tokens"]} == {("shop",)}
    assert ask(api, shop, "DELETE", f"/api/v1/tokens/{wide.split('.')[1]}")[0] == 404
    assert ask(api, wide, "GET", "/api/v1/version")[0] == 200


def test_a_token_ends_with_its_time_or_when_it_is_deleted(api: Api, clock: Clock) -> None:
    short, long = made(api, role="viewer", ttl="10m"), made(api, role="viewer")
    clock.now += 599
    assert ask(api, short, "GET", "/api/v1/version")[0] == 200
    clock.now += 1
    assert ask(api, short, "GET", "/api/v1/version")[0] == 401
    assert ask(api, long, "GET", "/api/v1/version")[0] == 200
    assert ask(api, api.first, "DELETE", f"/api/v1/tokens/{long.split('.')[1]}")[0] == 200
    assert ask(api, long, "GET", "/api/v1/version")[0] == 401
    assert [one["id"] for one in ask(api, api.first, "GET", "/api/v1/tokens")[1]["tokens"]] == ["bootstrap"]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"role": "viewer", "for": "shop/web"},
        {"role": "workload"},
        {"role": "king"},
        {"for": "shop"},
        {"for": "shop/../bank"},
        {"for": "shop/web", "namespaces": ["bank"]},
        {"for": "shop/web", "ttl": "900h"},
        {"role": "viewer", "namespaces": ["Shop/.."]},
        {"role": "viewer", "more": 1},
    ],
)
def test_tokens_that_cannot_be_made(api: Api, wanted: dict[str, Any]) -> None:
    assert ask(api, api.first, "POST", "/api/v1/tokens", wanted)[0] == 400


def test_a_token_to_join_with_opens_nothing_else(api: Api) -> None:
    token = made(api, **{"for": "shop/web", "ttl": "10m"})
    assert token.endswith(f".{FINGERPRINT}")
    assert ask(api, token, "GET", "/api/v1/version")[0] == 401
    assert ask(api, ".".join(token.removeprefix("tulle-join").split(".")[:3]), "GET", "/api/v1/version")[0] == 401
    _, identifier, secret, _ = token.split(".")
    assert ask(api, f"tulle.{identifier}.{secret}", "GET", "/api/v1/version")[0] == 401


def test_the_store_has_only_hashes(api: Api, tmp_path: Path) -> None:
    secrets = [text.split(".")[2] for text in (api.first, made(api, role="viewer"), made(api, **{"for": "shop/web"}))]
    dump = "\n".join(sqlite3.connect(tmp_path / "tulle.db").iterdump())
    assert not [secret for secret in secrets if secret in dump or secret.encode().hex() in dump.lower()]


def test_the_first_token_lies_beside_the_store_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    with running_api(tmp_path, guarded=True) as api:
        first = path.read_text().strip()
        assert (first, stat.S_IMODE(path.stat().st_mode)) == (api.first, 0o600)
    with running_api(tmp_path, guarded=True) as again:
        assert again.first == first
    path.unlink()
    with running_api(tmp_path, guarded=True) as anew:
        assert anew.first != first
        assert ask(anew, first, "GET", "/api/v1/version")[0] == 401
        assert ask(anew, anew.first, "GET", "/api/v1/version")[0] == 200


def test_the_first_token_does_not_come_back_once_it_was_taken_back(tmp_path: Path) -> None:
    with running_api(tmp_path, guarded=True) as api:
        stolen = api.first
        assert ask(api, stolen, "DELETE", "/api/v1/tokens/bootstrap")[0] == 200
        assert ask(api, stolen, "GET", "/api/v1/version")[0] == 401
    for _ in range(2):
        with running_api(tmp_path, guarded=True) as again:
            assert ask(again, stolen, "GET", "/api/v1/version")[0] == 401
            assert ask(again, again.first, "GET", "/api/v1/version")[0] == 200, "nor is anybody locked out"
            assert (tmp_path / "admin-token").read_text().strip() == again.first != stolen
    (tmp_path / "admin-token").write_text(stolen)
    with running_api(tmp_path, guarded=True) as once_more:
        assert ask(once_more, stolen, "GET", "/api/v1/version")[0] == 401, "whoever puts the old file back"


def test_a_file_without_a_token_is_told(tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_bytes(b"\xff" * 60)
    (tmp_path / "admin-token").chmod(0o600)

    async def run() -> None:
        async with open_sqlite(tmp_path / "tulle.db", time.monotonic) as store:
            await first_token(Tokens(store), str(tmp_path / "tulle.db"))

    with pytest.raises(OSError, match="holds no token; delete it"):
        asyncio.run(run())


def test_one_end_that_cannot_be_written_hides_no_other(tmp_path: Path) -> None:
    """What follows the ends of memberships goes on, and with it the control plane."""
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def end(holder: str) -> None:
        await ended.put(holder)
        raise StoreError("the disk is full")

    async def run() -> None:
        async with open_sqlite(tmp_path / "tulle.db", time.monotonic) as store, asyncio.TaskGroup() as tasks:
            tokens = Tokens(store)
            token, _ = await tokens.create(Token(id="", role=Role.VIEWER, created=0.0))
            following = tasks.create_task(follow_ends(store, lambda: ("gone", token.id), end))
            async with asyncio.timeout(60):
                assert await ended.get() == "gone"
                await tokens.delete(token.id)
                assert await ended.get() == token.id
            following.cancel()

    asyncio.run(run())
