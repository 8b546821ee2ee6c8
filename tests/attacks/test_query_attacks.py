"""Tokens in a query: they are taken out of it, and the rest goes on as it was written, not decoded into something else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.doors import Doors, doors
from support.tokens import Issuer

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("attacks-queries")]

ISSUER, EVE = Issuer(), Issuer(key_id="one")
TOKEN = ISSUER.token(sub="ann")


def login(name: str, more: str) -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}}}
spec:
  targetRefs: [{{kind: Gateway, name: {name}}}]
  jwtRules: [{{issuer: '{ISSUER.name}', jwks: '{ISSUER.key_set}', outputClaimToHeaders: [{{header: x-sub, claim: sub}}]{more}}}]
---
"""


WAYS = {"usual": f"access_token={TOKEN}", "named": f"t={TOKEN}", "kept": f"t={TOKEN}"}
"""By the door: what opens it."""


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    places = ", fromParams: [t], fromHeaders: [{name: x-token}]"
    text = login("usual", "") + login("named", places) + login("kept", f"{places}, forwardOriginalToken: true")
    with doors(tmp_path_factory.mktemp("queries"), tuple(WAYS), text) as found:
        yield found


def heard(found: Doors, door: str, target: str, *headers: str) -> str:
    """What the service gets of a request that is let in."""
    found.behind.forget()
    assert found.send(door, target, *headers) == 200, target
    (request,) = found.behind.requests()
    assert [name for name, _ in request.headers if name.startswith("x-tulle-query")] == []
    return request.target


RESTS = {
    "another request": "x=1%20HTTP/1.1%0d%0ahost:%20x%0d%0a%0d%0aGET%20/admin%20HTTP/1.1%0d%0ax:%20y",
    "one more parameter": "name=ann%26role=admin",
    "one more value": "role=user&role=guest",
    "a space": "q=a%20b+c",
    "a fragment": "x=%23y",
    "no value": "x&y=&=z",
    "bytes": "x=%ff%00%C3%A9",
    "a name that is encoded": "%72ole=x",
    "their own order": "b=1&a=2",
}


@pytest.mark.parametrize("rest", RESTS.values(), ids=RESTS)
@pytest.mark.parametrize("door", ["usual", "named"])
def test_the_rest_of_a_query_goes_on_as_it_is(found: Doors, door: str, rest: str) -> None:
    assert heard(found, door, f"/a?{WAYS[door]}&{rest}") == f"/a?{rest}"
    assert heard(found, door, f"/a?{rest}&{WAYS[door]}") == f"/a?{rest}"


@pytest.mark.parametrize("door", ["usual", "named"])
def test_nothing_is_left_of_what_stood_alone(found: Doors, door: str) -> None:
    assert heard(found, door, f"/a?{WAYS[door]}") == "/a"


def test_what_is_to_be_sent_on_is(found: Doors) -> None:
    target = f"/a?{WAYS['kept']}&x=%20"
    assert heard(found, "kept", target) == target


def test_what_is_no_query_goes_on_as_it_is(found: Doors) -> None:
    for door in ("usual", "named"):
        for target in ("/a", "/a?", "/a?x=%20", "/a&t=x", "/a?tt=x&access_tokens=%20y"):
            assert heard(found, door, target) == target


@pytest.mark.parametrize(("door", "name"), [("usual", "access_token"), ("named", "t")])
def test_a_bad_one_opens_nothing_however_it_is_written(found: Doors, door: str, name: str) -> None:
    good, bad = TOKEN, EVE.token()
    for query in (f"{name}={bad}", f"{name}={bad}&{name}={good}", f"x&{name}={bad}&x=%26{name}={good}", f"{name}={good}%0d%0ax:%20y"):
        assert found.send(door, f"/a?{query}") == 401, query
    assert found.send(door, f"/a?%{ord(name[0]):x}{name[1:]}={good}") == 200, "an encoded name is the same name"


def test_nobody_writes_where_they_are_moved_to(found: Doors) -> None:
    """Not past a token that is looked at, nor for one that is not there."""
    header = f"x-tulle-query-{b't'.hex()}: {TOKEN}"
    found.behind.forget()
    assert found.send("named", "/a", header) == 200
    (request,) = found.behind.requests()
    assert (request.values("x-sub"), request.values(header.partition(":")[0])) == ([], [])
