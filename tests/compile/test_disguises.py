"""What a rule that refuses means by a path, a host, or a header's name."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from tulle.compile.disguises import CLIMBING, alike, refused_host, refused_paths, refused_targets, usual_paths
from tulle.compile.explain.match import compare
from tulle.model.access import UNUSUAL, Condition, Is
from tulle.model.limits import MAX_REGEX_PROGRAM
from tulle.model.routing import Compare

RULES = ("/admin", "/admin/*", "*.secret", "*/keys", "/vault/{*}/key", "/a/{**}", "/", "/caf\u00e9/a:b", "/x%2Fy")
PIECES = (
    "admin",
    "ADMIN",
    "keys",
    "vault",
    "key",
    "a",
    "x.secret",
    "/",
    "//",
    "%2f",
    "%5C",
    "\\",
    ";v=1",
    "%3b",
    "..",
    "%2e%2E",
    ".",
    "%3a",
    ":",
)


def holds(conditions: tuple[Condition, ...], path: str) -> bool:
    return any(isinstance(c, Is) and (c.match is None or compare(c.match, path)) for c in conditions)


@given(st.sampled_from(RULES), st.lists(st.sampled_from(PIECES), max_size=7).map(lambda parts: "/" + "".join(parts)))
def test_a_path_that_is_not_unusual_is_found_by_the_cheap_rule(rule: str, path: str) -> None:
    """Else the data plane, which asks the costly one of unusual paths alone, would let a spelling through."""
    usual, every = tuple(usual_paths((rule,))), tuple(refused_paths((rule,)))
    if holds(every, path):
        assert holds(usual, path) or holds(UNUSUAL.parts, path)
    if holds(usual, path):
        assert holds((*every, *UNUSUAL.parts), path)


@given(st.sampled_from(RULES), st.sampled_from(RULES))
def test_a_rule_takes_its_own_path(rule: str, other: str) -> None:
    plain = rule.replace("{*}", "b").replace("{**}", "b/c").replace("*", "b").replace("\u00e9", "%C3%A9")
    assert holds(tuple(refused_paths((other, rule))), plain)


@given(st.text(alphabet="abcABC/%2f5c.;*", max_size=12).map(lambda text: "/" + text))
def test_every_pattern_is_one_that_the_data_plane_reads(rule: str) -> None:
    for condition in (*refused_paths((rule,)), *usual_paths((rule,))):
        assert isinstance(condition, Is)
        if condition.match and condition.match.compare.value == "regex":
            assert re2.compile(condition.match.value).programsize < 32768


def test_only_hidden_climbing_is_climbing() -> None:
    climbing = ("/a/..%2fb", "/a%2f..", "/a%5c%2e%2e/b", "/a%2F.%2fb", "/a/..;x/b")
    plain = ("/a..b", "/...", "/a/.hidden", "/a/b..", "/a%2fb", "/a%2f...%2fb", "/.well-known/x")
    assert all(holds((CLIMBING,), path) for path in climbing)
    assert not any(holds((CLIMBING,), path) for path in plain)


def test_names_of_headers_that_programs_take_for_one() -> None:
    assert alike("x-user") == ("x-user", "x_user")
    assert len(alike("x-a-b-c-d")) == 16
    assert alike("a-b-c-d-e-f") == ("a-b-c-d-e-f", "a_b_c_d_e_f")
    assert alike("host") == ("host",)


@given(st.sampled_from(("a.example", "*.example", "a*", "a.example:80", "[::1]", "[::1]:80")), st.sampled_from(("", ".", ":80", ".:80")))
def test_a_host_in_any_surroundings(rule: str, end: str) -> None:
    match = refused_host(rule)
    assert match
    host = rule.replace("*", "b") if "*" in rule else rule
    if not rule.endswith(":80") and not rule.startswith("["):
        host += end
    assert all(compare(match, written) for written in (host, host.upper(), f"user@{host}", f"x.example,{host}", f"{host},x.example"))


@pytest.mark.parametrize(
    "paths", [[f"/a/b/c/d/e/f/g/h/i/j{n}" for n in range(500)], ["/a" * 2000], ["/x"] * 2000, ["/é" * 400] * 9, ["*.css"] * 900]
)
def test_many_paths_make_no_pattern_that_is_too_big(paths: list[str]) -> None:
    either = "|".join(f"(?:{match.value})" for match in refused_targets(paths) if match.compare is Compare.REGEX)
    assert re2.compile(either).programsize <= MAX_REGEX_PROGRAM
