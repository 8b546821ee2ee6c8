from __future__ import annotations

import gc

from tulle.translate.memo import Memo


class Owner:
    """Something that can be referred to weakly."""


def test_the_same_object_is_made_once_and_an_equal_one_again() -> None:
    made: list[tuple[int, ...]] = []

    def make(of: tuple[int, ...]) -> int:
        made.append(of)
        return len(made)

    memo = Memo(make)
    one, equal = tuple([1, 2]), tuple([1, 2])  # noqa: C409  (a display would be one constant)
    assert (memo(one), memo(one), memo(equal)) == (1, 1, 2)


def test_results_go_with_the_last_owner() -> None:
    memo = Memo(str, spare=0)
    objects = [(n,) for n in range(3)]
    first, second = Owner(), Owner()
    for x in objects:
        memo(x)
    memo.hold(first, objects)
    memo.hold(second, objects[:1])
    del first
    gc.collect()
    assert len(memo) == 3, "the successor of an owner may still want them"
    memo.hold(Owner(), ())
    assert len(memo) == 1
    memo.hold(second, ())
    assert len(memo) == 1


def test_results_of_ended_owners_are_there_for_their_successors() -> None:
    made: list[object] = []
    memo = Memo(made.append)
    objects = [(n,) for n in range(100)]
    for _ in range(3):
        owner = Owner()
        for x in objects:
            memo(x)
        memo.hold(owner, objects)
        del owner
        gc.collect()
    assert len(made) == 100


def test_memory_is_bounded_by_what_lives() -> None:
    memo = Memo(str, spare=10)
    for generation in range(50):
        owner = Owner()
        objects = [(generation, n) for n in range(10)]
        for x in objects:
            memo(x)
        memo.hold(owner, objects)
    assert len(memo) <= 30
