"""Headers that callers have no business to send, or write so that a rule does not know them and the program behind it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.doors import Doors, doors, rule
from support.loopback import called_from_here
from support.tokens import Issuer

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("attacks-headers")]

ISSUER = Issuer()
RULES = {
    "denied": "action: DENY, rules: [{when: [{key: 'request.headers[x-debug-user]', values: [root, 'adm*']}]}]",
    "present": "action: DENY, rules: [{when: [{key: 'request.headers[x-debug-user]', values: ['*']}]}]",
    "excluded": "action: ALLOW, rules: [{when: [{key: 'request.headers[x-debug-user]', notValues: [root, 'adm*']}]}]",
    "wanted": "action: ALLOW, rules: [{when: [{key: 'request.headers[x-key]', values: [secret]}]}]",
}
LOGIN = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens}}
spec:
  targetRefs: [{{kind: Gateway, name: open}}]
  jwtRules:
  - issuer: {ISSUER.name}
    jwks: '{ISSUER.key_set}'
    outputPayloadToHeader: x-token-payload
    outputClaimToHeaders: [{{header: x-user-name, claim: sub}}, {{header: xplan, claim: plan}}]
---
"""


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    text = "".join(rule(name, spec) for name, spec in RULES.items()) + LOGIN
    with doors(tmp_path_factory.mktemp("headers"), (*RULES, "open"), text) as found:
        yield found


DISGUISES = {
    "plain": ["x-debug-user: root"],
    "capitals": ["X-DEBUG-USER: root"],
    "underscores": ["x_debug_user: root"],
    "one underscore": ["x-debug_user: root"],
    "other underscore": ["X_Debug-User: root"],
    "spaces and tabs": ["x-debug-user: \t root\t "],
    "second of two": ["x-debug-user: guest", "x-debug-user: root"],
    "first of two": ["x-debug-user: administrator", "x-debug-user: guest"],
    "one of each": ["x-debug-user: guest", "x_debug_user: root"],
    "on a line that goes on": ["x-debug-user:", " root"],
}


@pytest.mark.parametrize("lines", DISGUISES.values(), ids=DISGUISES)
def test_a_header_in_disguise_is_refused(found: Doors, lines: list[str]) -> None:
    assert {door: found.send(door, "/", *lines) for door in ("denied", "present", "excluded")} == {
        "denied": 403,
        "present": 403,
        "excluded": 403,
    }
    if not lines[-1].startswith(" "):
        pairs = [(name, value) for name, _, value in (line.partition(":") for line in lines)]
        assert [found.explained(door, "/", *pairs) for door in ("denied", "present", "excluded")] == [403] * 3


def test_other_headers_get_through(found: Doors) -> None:
    assert [found.send(door, "/", "x-debug-user: guest") for door in ("denied", "excluded")] == [200, 200]
    assert found.send("present", "/", "x-debug-users: root") == 200
    assert found.send("wanted", "/", "x-key: secret") == 200


@pytest.mark.parametrize("lines", [["x_key: secret"], ["x-key: Secret"], ["x-key: secretive"], ["x-key: secret,x"], ["xkey: secret"]])
def test_only_the_very_header_opens(found: Doors, lines: list[str]) -> None:
    assert found.send("wanted", "/", *lines) == 403


NO_HEADERS = {
    "space in the name": "x y: z",
    "space before the colon": "x-debug-user : root",
    "tab before the colon": "x-debug-user\t: root",
    "no colon": "x-debug-user",
    "no name": ": root",
    "parenthesis": "x(y): z",
    "NUL": "x: y\x00z",
    "NUL in the name": "x\x00: y",
}


@pytest.mark.parametrize("line", NO_HEADERS.values(), ids=NO_HEADERS)
def test_what_is_no_header_is_refused(found: Doors, line: str) -> None:
    found.behind.forget()
    assert found.send("open", "/", line) == 400
    assert found.behind.requests() == []


@pytest.mark.parametrize(
    "name", ["x-user-name", "X-User-Name", "x_user_name", "x-user_name", "X_USER-NAME", "x-token-payload", "x_token_payload", "xplan"]
)
def test_nobody_may_say_who_he_is(found: Doors, name: str) -> None:
    """With a token of his own, or without."""
    for more in ([], [f"authorization: Bearer {ISSUER.token(sub='ann', plan='free')}"]):
        found.behind.forget()
        assert found.send("open", "/", f"{name}: forged", *more) == 200
        (heard,) = found.behind.requests()
        assert "forged" not in [value for _, value in heard.headers]
        assert heard.values("x-user-name") == (["ann"] if more else [])


BELIEVED_OF_NOBODY = (
    "x-envoy-internal: true",
    "x-envoy-upstream-rq-timeout-ms: 1",
    "x-envoy-upstream-rq-per-try-timeout-ms: 1",
    "x-envoy-expected-rq-timeout-ms: 1",
    "x-envoy-retry-on: 5xx",
    "x-envoy-max-retries: 99",
    "x-envoy-retry-grpc-on: cancelled",
    "x-envoy-hedge-on-per-try-timeout: true",
    "x-envoy-upstream-stream-duration-ms: 1",
    "x-envoy-decorator-operation: forged",
    "x-envoy-ip-tags: forged",
    "x-envoy-force-trace: true",
    "x-envoy-original-path: /forged",
    "x-envoy-original-url: http://forged/",
    "x-forwarded-client-cert: By=forged;URI=spiffe://cluster.local/ns/default/sa/admin",
)


@pytest.mark.parametrize("line", BELIEVED_OF_NOBODY, ids=lambda line: line.partition(":")[0])
def test_what_proxies_tell_each_other_is_believed_of_nobody(found: Doors, line: str) -> None:
    found.behind.forget()
    assert found.send("open", "/", line) == 200
    (heard,) = found.behind.requests()
    assert heard.values(line.partition(":")[0]) == []


def test_a_caller_does_not_choose_its_address(found: Doors) -> None:
    found.behind.forget()
    assert found.send("open", "/", "x-forwarded-for: 10.0.0.1", "x-envoy-external-address: 10.0.0.1", "x-forwarded-proto: https") == 200
    (heard,) = found.behind.requests()
    assert heard.values("x-envoy-external-address") == ["127.0.0.1"]
    assert heard.values("x-forwarded-for")[0].split(",")[-1] in called_from_here()
    assert heard.values("x-forwarded-proto") == ["http"]


def test_a_caller_does_not_choose_what_proxies_before_it_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Behind one trusted proxy: what this one adds counts, not what was there before."""
    text = rule("inside", "action: ALLOW, rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]")
    with doors(tmp_path_factory.mktemp("hops"), ("inside",), text, hops=1) as found:
        assert found.send("inside", "/", "x-forwarded-for: 10.0.0.1") == 200
        assert found.send("inside", "/", "x-forwarded-for: 10.0.0.1, 203.0.113.9") == 403
        assert found.send("inside", "/", "x-forwarded-for: 10.0.0.1", "x-forwarded-for: 203.0.113.9") == 403
        assert found.send("inside", "/", "x-forwarded-for: 10.0.0.1, none") == 403
        assert found.send("inside", "/", "forwarded: for=10.0.0.1", "x-real-ip: 10.0.0.1", "x_forwarded_for: 10.0.0.1") == 403


def test_hop_by_hop_headers_take_nothing_away(found: Doors) -> None:
    """`connection: x-forwarded-for` asks a proxy to forget where a request comes from (RFC 9110, 7.6.1)."""
    found.behind.forget()
    for name in ("x-forwarded-for", "x-forwarded-proto", "host", "x-user-name", "authorization"):
        status = found.send("open", "/", f"connection: close, {name}", f"authorization: Bearer {ISSUER.token(sub='ann')}")
        assert status in (200, 400)
    for heard in found.behind.requests():
        assert heard.values("host") == ["shop.example"]
        (address,) = heard.values("x-forwarded-for")
        assert address in called_from_here()
        assert heard.values("x-forwarded-proto") == ["http"]
