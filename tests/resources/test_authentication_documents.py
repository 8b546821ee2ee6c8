"""Authentications: what is read, and what is said of mistakes; what stands in their Secrets."""

from __future__ import annotations

import pytest

from support.compiled import documents
from support.reading import spec_of, wrong
from tulle.compile.passwords import clients, users
from tulle.resources.core_secret import Secret

TULLE = "tulle.dev/v1"
SIGN_IN = "oidc: {{secret: a, clientId: b, authorizationEndpoint: https://a/z, tokenEndpoint: {}}}"
SHA = "W6ph5Mm5Pz8GgiULbPgzG37mj9g="


def secret(entries: str) -> Secret:
    (found,) = documents(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData: {entries}").values()
    assert isinstance(found.spec, Secret)
    return found.spec


def test_all_fields() -> None:
    spec = spec_of(
        "Authentication",
        "selector: {matchLabels: {app: a}}\nexcludedPaths: [/a, /b/*]\n"
        "apiKeys: {secret: a, from: [{header: X-Key}, {query: k}, {cookie: c}], clientHeader: x-c, forwardKey: true}",
        api_version=TULLE,
    )
    assert [(p.header, p.query, p.cookie) for p in spec.api_keys.from_] == [("X-Key", None, None), (None, "k", None), (None, None, "c")]
    spec = spec_of("Authentication", "basic: {secret: a, realm: b, userHeader: x-u, forwardPassword: true}", api_version=TULLE)
    assert (spec.basic.realm, spec.basic.user_header, spec.basic.forward_password) == ("b", "x-u", True)
    assert spec_of("Authentication", "apiKeys: {secret: a}", api_version=TULLE).api_keys.from_[0].header == "x-api-key"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "set one of apiKeys, basic, oidc"),
        (
            "oidc: {secret: a, clientId: b, tokenEndpoint: https://a/t}",
            "spec.oidc.authorizationEndpoint: required where no issuer tells it",
        ),
        (SIGN_IN.format("file:///t"), "must be a URL with http or https, without fragment, not 'file:///t'"),
        (SIGN_IN.format("https://a:x/t"), "must be a URL"),
        (SIGN_IN.format("https://u@a/t"), "must be a URL"),
        (SIGN_IN.format("https://a/t, scopes: ['a b']"), "must be ASCII without spaces"),
        (SIGN_IN.format("https://a/t, redirectPath: /"), "must be a path of letters, digits and -._~/, longer than /"),
        (SIGN_IN.format("https://a/t, logoutPath: /oauth2/callback"), "must not be the redirectPath"),
        (SIGN_IN.format("https://a/t, issuer: a.example"), "must be a URL"),
        (SIGN_IN.format("https://a/t, authorizationParams: {state: a}"), "authorizationParams.state: is no parameter that can be added"),
        (SIGN_IN.format("https://a/t, authorizationParams: {'a&b': a}"), "is no parameter that can be added"),
        (SIGN_IN.format("https://a/t, cookieNames: {session: 'a b'}"), "must be the name of a cookie"),
        (SIGN_IN.format("https://a/t, cookieNames: {session: IdToken}"), "cookieNames: must be different names"),
        (SIGN_IN.format("https://a/t, sameSite: lax"), "sameSite"),
        (SIGN_IN.format("https://a/t, clientAuthentication: none"), "clientAuthentication"),
        (SIGN_IN.format("https://a/t, resources: [a]"), "must be a URL"),
        (SIGN_IN.format("https://a/t, denyRedirect: {'x a': {exact: b}}"), "must be a header name, not 'x a'"),
        (SIGN_IN.format("https://a/t, idTokenHeader: Host"), "must not be Host"),
        (SIGN_IN.format("https://a/t, forwardBearerToken: true, idTokenHeader: authorization"), "must not be authorization"),
        (SIGN_IN.format("https://a/t, denyRedirect: {x-a: {}}"), "set one of exact, prefix, regex"),
        (SIGN_IN.format("https://a/t, scopes: [a], endSessionEndpoint: https://a/e"), "needs the scope openid"),
        ("apiKeys: {}", "spec.apiKeys.secret: required"),
        ("apiKeys: {secret: a, from: []}", "spec.apiKeys.from: must name a place where keys are looked for"),
        ("apiKeys: {secret: a, from: [{query: ''}]}", "must not be empty"),
        ("apiKeys: {secret: a, clientHeader: Host}", "must not be Host, which requests cannot do without"),
        ("basic: {secret: a}\nexcludedPaths: [/a*b]", "must be a path, or the beginning of one before *, not '/a*b'"),
        ("basic: {secret: a}\nexcludedPaths: ['/a?b']", "must be a path"),
        ('basic: {secret: a, realm: "a\\nb"}', "must be printable ASCII without quotes and backslashes"),
    ],
)
def test_mistakes(text: str, complaint: str) -> None:
    assert any(complaint in line for line in wrong("Authentication", text, api_version=TULLE))


def test_keys_of_clients() -> None:
    known, problems = clients(secret('{b: one, a: "one\\n", c: " two ", "d e": three, f: "", g: "x\\ty", h: "\\u00e9"}'))
    assert {name: key.reveal() for name, key in known} == {"a": b"one", "c": b"two"}
    assert len(problems) == 5
    assert not [word for word in ("one", "two", "three", "é") if any(word in problem for problem in problems)]
    assert clients(None) == ((), ())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ann", "it is not NAME:{SHA}HASH"),
        ("ann:", "it is not NAME:{SHA}HASH"),
        (f":{{SHA}}{SHA}", "it is not NAME:{SHA}HASH"),
        ("ann:$2b$12$hash-of-golden", "is a bcrypt hash"),
        ("ann:$apr1$golden", "is an MD5 hash"),
        ("ann:$6$golden", "is a crypt hash"),
        ("ann:{SSHA}golden", "is of another scheme"),
        ("ann:golden", "is in plain text"),
        ("ann:{SHA}golden", "is not the base64 of a SHA-1"),
        (f"ann:{{SHA}}{SHA[:-2]}==", "is not the base64 of a SHA-1"),
        (f"\x07:{{SHA}}{SHA}", "it is not NAME:{SHA}HASH"),
    ],
)
def test_users_that_are_left_out(line: str, why: str) -> None:
    spec = Secret.model_validate({"stringData": {"auth": f"# users\n\nbob:{{SHA}}{SHA}\r\n{line}\n"}})
    known, (problem,) = users(spec)
    assert [name for name, _ in known] == ["bob"]
    assert problem.startswith("line 4 of entry 'auth' is left out: ")
    assert why in problem
    assert "golden" not in problem
