"""JSON Web Tokens made to be believed: none is."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from support.doors import Doors, doors, rule
from support.tokens import Issuer, signed_with_secret, unsigned

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("attacks-tokens")]

ISSUER, OTHER, EVE = Issuer(), Issuer("https://other.example", "two"), Issuer(key_id="one")
"""Eve has a key of her own, and says that it is the issuer's."""


def login(name: str, *issuers: Issuer, more: str = "") -> str:
    rules = "\n".join(f"  - {{issuer: '{i.name}', jwks: '{i.key_set}', audiences: [shop]{more}}}" for i in issuers)
    return f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}}}
spec:
  targetRefs: [{{kind: Gateway, name: {name}}}]
  jwtRules:
{rules}
---
"""


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    ann = f"action: ALLOW, rules: [{{from: [{{source: {{requestPrincipals: ['{ISSUER.name}/ann']}}}}]}}]"
    text = login("one", ISSUER) + rule("one", ann) + login("two", ISSUER, OTHER)
    text += rule("two", ann.replace("/ann", "/*")) + login("places", ISSUER, more=", fromHeaders: [{name: x-token}], fromParams: [t]")
    text += rule("places", ann)
    with doors(tmp_path_factory.mktemp("tokens"), ("one", "two", "places"), text) as found:
        yield found


def good(**more: object) -> dict[str, object]:
    return ISSUER.claims(**{"aud": "shop", **more})


def text(**more: object) -> str:
    return json.dumps(good(**more))


def parts(token: str) -> list[str]:
    return token.split(".")


def key_of(issuer: Issuer) -> dict[str, str]:
    found: dict[str, str] = json.loads(issuer.key_set)["keys"][0]
    return found


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


GOOD = ISSUER.token(aud="shop")
SIGNED_BY_EVE = EVE.token(aud="shop")
MODULUS = base64.urlsafe_b64decode(key_of(ISSUER)["n"] + "==")
FORGED = {
    "alg none": unsigned(**good()),
    "alg None": unsigned("None", **good()),
    "alg NONE": unsigned("NONE", **good()),
    "alg nOnE with a signature": unsigned("nOnE", parts(GOOD)[2], **good()),
    "alg empty": unsigned("", **good()),
    "no signature": ".".join(parts(GOOD)[:2]) + ".",
    "two parts": ".".join(parts(GOOD)[:2]),
    "four parts": GOOD + ".x",
    "five parts, as if encrypted": GOOD + ".x.y",
    "key confusion, the key in PEM": signed_with_secret(ISSUER.public_key, good()),
    "key confusion, the key set": signed_with_secret(ISSUER.key_set.encode(), good()),
    "key confusion, the modulus": signed_with_secret(MODULUS, good()),
    "key confusion, the modulus as text": signed_with_secret(key_of(ISSUER)["n"].encode(), good()),
    "key confusion, nothing": signed_with_secret(b"", good()),
    "another's key": SIGNED_BY_EVE,
    "another issuer's good token": OTHER.token(aud="shop"),
    "another issuer's key": OTHER.signed(text()),
    "a key in the head": EVE.signed(text(), jwk=key_of(EVE)),
    "a key set's address in the head": EVE.signed(text(), jku="http://127.0.0.1:1/keys"),
    "a certificate's address in the head": EVE.signed(text(), x5u="http://127.0.0.1:1/cert"),
    "a kid that is a path": EVE.signed(text(), kid="../../../../dev/null"),
    "a kid that is a query": EVE.signed(text(), kid="x' UNION SELECT 'AAAA"),
    "a kid that is a command": EVE.signed(text(), kid="one|touch /tmp/x"),
    "a kid that nobody knows": EVE.signed(text(), kid="three"),
    "no kid": EVE.signed(text(), kid=None),
    "a kid that is no text": EVE.signed(text(), kid=["one"]),
    "other claims under a good signature": ".".join((parts(GOOD)[0], b64(text(sub="root").encode()), parts(GOOD)[2])),
    "another head over a good signature": ".".join((b64(b'{"alg":"RS256","kid":"one","x":1}'), *parts(GOOD)[1:])),
    "another algorithm over a good signature": ".".join((b64(b'{"alg":"RS512","kid":"one"}'), *parts(GOOD)[1:])),
    "expired": ISSUER.token(aud="shop", lives=-600),
    "expired long ago": ISSUER.signed(text(exp=1)),
    "expires in a text": ISSUER.signed(text(exp="never")),
    "not valid yet": ISSUER.signed(text(nbf=2**33)),
    "of no issuer": ISSUER.signed(json.dumps({k: v for k, v in good().items() if k != "iss"})),
    "of another issuer": ISSUER.signed(text(iss="https://issuer.example.evil")),
    "of an issuer in capitals": ISSUER.signed(text(iss=ISSUER.name.upper())),
    "of several issuers": ISSUER.signed(text(iss=[ISSUER.name, "x"])),
    "no object": ISSUER.signed("[]"),
    "no JSON": ISSUER.signed("{"),
    "a payload of great depth": ISSUER.signed('{"a":' * 3000 + "1" + "}" * 3000),
    "nothing": "",
    "spaces": "a b c",
    "bytes": "\xff\xfe.\xff.\xff",
}
NOT_FOR_US = {
    "for others": ISSUER.token(aud="bank"),
    "for nobody": ISSUER.token(aud=None),
    "for one whose name begins alike": ISSUER.token(aud="shopping"),
    "for others, in a list": ISSUER.token(aud=["bank", "shop "]),
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_refused(found: Doors, token: str) -> None:
    assert found.send("one", "/", f"authorization: Bearer {token}") in ((401, 403) if not token else (401,))


@pytest.mark.parametrize("token", NOT_FOR_US.values(), ids=NOT_FOR_US)
def test_a_token_for_others_is_refused(found: Doors, token: str) -> None:
    assert found.send("one", "/", f"authorization: Bearer {token}") == 403


def test_a_good_token_is_taken(found: Doors) -> None:
    assert found.send("one", "/", f"authorization: Bearer {GOOD}") == 200
    assert found.send("one", "/") == 403
    assert found.send("one", "/", f"authorization: Bearer {ISSUER.token(aud='shop', sub='bob')}") == 403


def test_a_name_that_begins_alike_is_another(found: Doors) -> None:
    for sub in ("anne", "Ann", "ann ", "x/ann", "/ann", "", ["ann"], ["ann", "x"], None):
        status = found.send("one", "/", f"authorization: Bearer {ISSUER.token(aud='shop', sub=sub)}")
        assert status in (401, 403), sub


TWO = {
    "bad, then good": [f"authorization: Bearer {SIGNED_BY_EVE}", f"authorization: Bearer {GOOD}"],
    "good, then bad": [f"authorization: Bearer {GOOD}", f"authorization: Bearer {SIGNED_BY_EVE}"],
    "joined": [f"authorization: Bearer {GOOD}, Bearer {SIGNED_BY_EVE}"],
}


@pytest.mark.parametrize("lines", TWO.values(), ids=TWO)
def test_two_tokens_in_one_place_are_refused(found: Doors, lines: list[str]) -> None:
    assert found.send("one", "/", *lines) in (400, 401)


@pytest.mark.parametrize(("header", "parameter"), [(GOOD, SIGNED_BY_EVE), (SIGNED_BY_EVE, GOOD), (GOOD, unsigned(**good()))])
def test_a_bad_token_beside_a_good_one_is_refused(found: Doors, header: str, parameter: str) -> None:
    assert found.send("places", f"/?t={parameter}", f"x-token: {header}") == 401


def test_tokens_of_two_issuers_do_not_lend_each_other_names(found: Doors) -> None:
    """Only tokens of the issuer whom the rule names let in."""
    assert found.send("two", "/", f"authorization: Bearer {ISSUER.token(aud='shop')}") == 200
    assert found.send("two", "/", f"authorization: Bearer {OTHER.token(aud='shop')}") == 403
    assert found.send("two", "/", f"authorization: Bearer {OTHER.signed(text())}") == 401


def test_a_huge_token_is_refused_and_the_next_is_not(found: Doors) -> None:
    for size in (20_000, 60_000, 200_000):
        assert found.send("one", "/", f"authorization: Bearer {ISSUER.token(aud='shop', sub='x' * size)}") in (400, 401, 403, 431)
    assert found.send("one", "/", f"authorization: Bearer {GOOD}") == 200
