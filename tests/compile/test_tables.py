"""Tables that are brought up to date: what is made anew, what stays the same object, and that it is what a fresh start gives."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import example, given
from hypothesis import strategies as st

from tulle.compile import tables
from tulle.compile.memo import Memo

Words = Mapping[str, str]
words = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["one two", "two", "three one", ""]), max_size=6)
ways = st.lists(st.tuples(words, st.integers(0, 1)), min_size=2, max_size=5)


def all_of(memo: Memo, items: Words, world: int) -> tuple[object, ...]:
    """One table of each sort, with the order that each has."""
    upper = tables.each(memo, "upper", items, lambda key, value: f"{key}{value.upper()}{world}", (world,))
    groups = tables.grouped(memo, "groups", items, lambda value: value.split())
    ordered = tables.ordered(memo, "ordered", {k: (v, k) for k, v in items.items()}, lambda pair: pair)
    first = tables.values(memo, "groups", groups)
    return list(upper.items()), [(place, list(group.items())) for place, group in groups.items()], list(ordered.items()), first


@example([({"a": "two", "b": "one two"}, 0), ({"b": "one two", "a": "two"}, 0)])
@given(ways)
def test_whatever_was_there_before_the_tables_are_those_of_a_fresh_start(way: list[tuple[Words, int]]) -> None:
    memo = Memo()
    for items, world in way:
        assert all_of(memo, items, world) == all_of(Memo(), items, world)


@given(words)
def test_the_same_items_give_the_same_tables(items: Words) -> None:
    memo = Memo()

    def made(of: Words) -> list[object]:
        groups = tables.grouped(memo, "groups", of, str.split)
        return [tables.each(memo, "upper", of, lambda _, v: v.upper()), groups, tables.values(memo, "groups", groups)]

    before = made(items)
    assert all(x is y for x, y in zip(made(dict(items)), before, strict=True))


def test_only_what_changed_is_made_anew() -> None:
    memo, asked = Memo(), list[str]()

    def make(key: str, value: int) -> int:
        asked.append(key)
        return value // 10

    before = tables.each(memo, "tens", {"a": 10, "b": 20}, make)
    assert tables.each(memo, "tens", {"a": 10, "b": 31}, make) == {"a": 1, "b": 3}
    assert asked == ["a", "b", "b"]
    assert before == {"a": 1, "b": 2}


def test_a_change_that_comes_to_the_same_changes_nothing() -> None:
    memo = Memo()
    before = tables.each(memo, "tens", {"a": 1000}, lambda _, value: (value // 10,))
    assert tables.each(memo, "tens", {"a": 1001}, lambda _, value: (value // 10,)) is before


def test_groups_without_changed_members_stay_the_same_objects() -> None:
    memo = Memo()
    before = tables.grouped(memo, "words", {"a": "x", "b": "y", "c": "x"}, str.split)
    after = tables.grouped(memo, "words", {"a": "x", "b": "y z", "c": "x"}, str.split)
    assert after["x"] is before["x"]
    assert (dict(after["y"]), dict(after["z"])) == ({"b": "y z"}, {"b": "y z"})


def test_another_world_makes_everything_anew() -> None:
    memo = Memo()
    assert tables.each(memo, "sum", {"a": 1}, lambda _, value: value + 1, (1,)) == {"a": 2}
    assert tables.each(memo, "sum", {"a": 1}, lambda _, value: value + 2, (2,)) == {"a": 3}
