"""Paths as the data plane sees them. The right-hand sides were measured on Envoy 1.40."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.compile.explain.paths import normalise, split_query

MEASURED = {
    "/a/../b": "/b",
    "/a/./b": "/a/b",
    "/a//b": "/a//b",
    "/a/b/..": "/a/",
    "/../../x": "/x",
    "/a//../b": "/a/b",
    "/a/%2e%2E/b": "/b",
    "/a/.%2E/b": "/b",
    "/a/...": "/a/...",
    "/a\\b": "/a/b",
    "/a\\..\\b": "/b",
    "/a%5cb": "/a%5cb",
    "/a%2fb": "/a%2fb",
    "/%61%7e": "/a~",
    "/a%21": "/a%21",
    "/a|b": "/a%7Cb",
    '/"<>^`{}': "/%22%3C%3E%5E%60%7B%7D",
    "/a[b]": "/a[b]",
    "/a%": "/a%",
    "/a%zz": "/a%zz",
    "/a%%41": "/a%A",
    "/a%%34%31": "/a%2541",
    "/%%32e": "/%252e",
    "/a/..;x=1/b": "/b",
    "/a/.;/b": "/a/b",
    "/a/..%3b/b": "/a/..%3b/b",
    "/a;b=c": "/a;b=c",
    "/a?x=/../%41\\": "/a?x=/../%41\\",
    "/..?x": "/?x",
}


@pytest.mark.parametrize(("sent", "seen"), MEASURED.items())
def test_measured(sent: str, seen: str) -> None:
    assert normalise(sent) == seen


def test_an_escaped_nul_is_refused() -> None:
    assert normalise("/a%00") is None
    assert normalise("/a?%00") == "/a?%00"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=30))
def test_no_dot_segment_stays(rest: str) -> None:
    seen = normalise("/" + rest)
    if seen is not None:
        path, _ = split_query(seen)
        assert path.startswith("/")
        assert not {".", ".."} & set(path.split("/"))


@given(st.text(st.sampled_from("/.%2eE;\\a5"), max_size=20))
def test_the_query_is_left_alone(query: str) -> None:
    assert normalise("/x?" + query) == "/x?" + query
