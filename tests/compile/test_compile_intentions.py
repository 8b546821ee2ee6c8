"""Intentions as policies: whoever Consul lets in is let in, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.compiled import built, documents, instance, warnings
from tulle.compile.consul.intentions import ANY, intents, policies, precedence
from tulle.model.resource import Resource
from tulle.resources.consul import ServiceIntentions
from tulle.resources.read import read
from tulle.resources.security import AuthorizationPolicy
from tulle.resources.security.authorization_policy import Action, Origin, Rule

NAMES = ("web", "api", "db")


def entry(destination: str, sources: str) -> str:
    name = "every.service" if destination == ANY else destination
    spec = f"{{destination: {{name: '{destination}'}}, sources: {sources}}}"
    return f"---\napiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceIntentions\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def of(text: str) -> tuple[Resource[ServiceIntentions], ...]:
    return tuple(documents(text).values())


def is_let_in(found: Iterable[Resource[AuthorizationPolicy]], caller: str, path: str = "/", method: str = "GET") -> bool:
    """As AuthorizationPolicies are read."""
    principal = f"cluster.local/ns/default/sa/{caller}"
    by_action = {action: [r for p in found if p.spec.action is action for r in p.spec.rules] for action in Action}
    has_allow = any(p.spec.action is Action.ALLOW for p in found)
    if any(takes(rule, principal, path, method) for rule in by_action[Action.DENY]):
        return False
    return not has_allow or any(takes(rule, principal, path, method) for rule in by_action[Action.ALLOW])


def takes(rule: Rule, principal: str, path: str, method: str) -> bool:
    called = not rule.to or any(
        (not t.operation.paths or any(fits(p, path) for p in t.operation.paths))
        and (not t.operation.methods or method in t.operation.methods)
        and not any(fits(p, path) for p in t.operation.not_paths)
        and method not in t.operation.not_methods
        for t in rule.to
    )
    return called and (not rule.from_ or any(names(f.source, principal) for f in rule.from_))


def names(origin: Origin, principal: str) -> bool:
    return (not origin.principals or principal in origin.principals) and principal not in origin.not_principals


def fits(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


WHO = st.sampled_from([*NAMES, ANY])
SAID = st.dictionaries(st.tuples(WHO, WHO), st.sampled_from(["allow", "deny"]), max_size=6)


@given(said=SAID, caller=st.sampled_from(NAMES), called=st.sampled_from(NAMES), allow=st.booleans())
def test_the_most_exact_intention_decides(said: dict[tuple[str, str], str], caller: str, called: str, allow: bool) -> None:
    by_destination: dict[str, list[str]] = {}
    for (source, destination), action in said.items():
        by_destination.setdefault(destination, []).append(f"{{name: '{source}', action: {action}}}")
    text = "".join(entry(d, f"[{', '.join(sources)}]") for d, sources in by_destination.items())
    found = policies(of(text) if text else (), "cluster.local", allow=allow)
    held = found.get(("default", called)) or found.get(("default", ANY), ())
    order = [(caller, called), (ANY, called), (caller, ANY), (ANY, ANY)]
    expected = next((said[pair] == "allow" for pair in order if pair in said), allow)
    if held:
        assert is_let_in(held, caller) == expected
    else:
        assert not any(pair in said for pair in order)


@pytest.mark.parametrize("elsewhere", ["peer: east", "samenessGroup: all"])
@pytest.mark.parametrize("source", ["web", ANY])
@pytest.mark.parametrize("allow", [True, False])
def test_what_is_said_of_callers_elsewhere_is_not_of_those_here(elsewhere: str, source: str, allow: bool) -> None:
    said = f"[{{name: '{source}', action: {'deny' if allow else 'allow'}, {elsewhere}}}]"
    (held,) = policies(of(entry("db", said)), "cluster.local", allow=allow).values()
    assert is_let_in(held, "web") is allow


@pytest.mark.parametrize(("source", "destination", "rank"), [("web", "db", 9), (ANY, "db", 8), ("web", ANY, 6), (ANY, ANY, 5)])
def test_precedence_is_consuls(source: str, destination: str, rank: int) -> None:
    assert precedence(source, destination) == rank
    (intent,) = intents(of(entry(destination, f"[{{name: '{source}', action: allow}}]")))
    assert (intent.precedence, intent.index) == (rank, 0)


PERMISSIONS = """[{name: web, permissions: [
  {action: deny, http: {pathPrefix: /admin}},
  {action: allow, http: {pathPrefix: /, methods: [GET]}},
  {action: deny}]}]"""


def test_permissions_are_asked_of_each_request() -> None:
    (held,) = policies(of(entry("db", PERMISSIONS)), "cluster.local", allow=True).values()
    assert is_let_in(held, "web", "/items")
    assert not is_let_in(held, "web", "/items", "POST")
    assert not is_let_in(held, "web", "/admin/x")
    assert is_let_in(held, "api", "/admin/x", "POST")
    assert {str(held[0].at(f"spec.rules[{i}]")) for i in range(len(held[0].spec.rules))} == {"ServiceIntentions/db spec.sources[0]"}
    (strict,) = policies(of(entry("db", PERMISSIONS)), "cluster.local", allow=False).values()
    assert not is_let_in(strict, "api")


def test_what_a_sidecar_cannot_tell_lets_nobody_in_and_is_told() -> None:
    text = entry("db", "[{name: web, permissions: [{action: allow, http: {pathRegex: /a.*}}]}, {name: gone, action: deny}]")
    (held,) = policies(of(text), "cluster.local", allow=False).values()
    assert not is_let_in(held, "web", "/a")
    said = warnings(built(text, instance("web"), instance("db")), "ServiceIntentions/db")
    assert [w.partition("ServiceIntentions/db: ")[2] for w in said] == [
        "spec.sources[0].permissions[0]: pathRegex cannot be told by a sidecar: it allows nothing",
        "spec.sources[1].name: no service gone.default.svc.cluster.local is known: callers are told by the service account of that name",
    ]


@pytest.mark.parametrize(
    ("http", "what"),
    [
        ("{pathExact: '/a*'}", "a path with *, { or }"),
        ("{pathPrefix: '/a/{*}'}", "a path with *, { or }"),
        ("{header: [{name: x-team, exact: 'a*'}]}", "header x-team"),
    ],
)
def test_signs_of_policies_stand_for_nothing_in_intentions(http: str, what: str) -> None:
    text = entry("db", f"[{{name: web, permissions: [{{action: allow, http: {http}}}]}}]")
    (held,) = policies(of(text), "cluster.local", allow=False).values()
    assert not is_let_in(held, "web", "/ab")
    (said,) = warnings(built(text, instance("web"), instance("db")), "ServiceIntentions/db")
    assert said.endswith(f"spec.sources[0].permissions[0]: {what} cannot be told by a sidecar: it allows nothing")


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ("{methods: ['']}", "permissions[0].http.methods[0]: must be a method such as GET, not ''"),
        ("{pathExact: a}", "permissions[0].http.pathExact: must begin with /, not 'a'"),
    ],
)
def test_permissions_that_no_request_can_fit(http: str, said: str) -> None:
    found = read(entry("db", f"[{{name: web, permissions: [{{action: allow, http: {http}}}]}}]"), "f.yaml")
    assert [str(violation).partition("sources[0].")[2] for violation in found.violations] == [said]


def test_headers_become_conditions() -> None:
    text = entry("db", "[{name: web, permissions: [{action: allow, http: {header: [{name: X-Team, prefix: a, invert: true}]}}]}]")
    (held,) = policies(of(text), "cluster.local", allow=False).values()
    (rule,) = held[0].spec.rules
    assert [(c.key, c.not_values) for c in rule.when] == [("request.headers[x-team]", ("a*",))]


PATHS, METHODS = ("/a", "/a/b", "/c"), ("GET", "PUT")
ASKED = st.fixed_dictionaries(
    {}, optional={"pathPrefix": st.sampled_from(["/", "/a", "/a/"]), "methods": st.sampled_from([["GET"], ["GET", "PUT"]])}
)
GIVEN = st.lists(st.tuples(st.sampled_from(["allow", "deny"]), ASKED), min_size=1, max_size=4)


@given(given_=GIVEN, path=st.sampled_from(PATHS), method=st.sampled_from(METHODS), allow=st.booleans())
def test_the_first_permission_that_fits_decides(given_: list[tuple[str, dict[str, object]]], path: str, method: str, allow: bool) -> None:
    permissions = [{"action": action, "http": asked} for action, asked in given_]
    (held,) = policies(of(entry("db", json.dumps([{"name": "web", "permissions": permissions}]))), "cluster.local", allow=allow).values()

    def fitting(asked: dict[str, object]) -> bool:
        return path.startswith(str(asked.get("pathPrefix", "/"))) and method in asked.get("methods", METHODS)  # type: ignore[operator]

    expected = next((action == "allow" for action, asked in given_ if fitting(asked)), allow)
    assert is_let_in(held, "web", path, method) == expected
    assert is_let_in(held, "api", path, method) == allow
