"""What is shared between streams: found again, bounded, and not kept for longer than it is of use."""

from __future__ import annotations

import gc
import itertools
import weakref

from hypothesis import given
from hypothesis import strategies as st

from support.playbook import entry, snapshot
from tulle.discovery import CDS, EDS, Mode, Shared
from tulle.discovery.shared import STAY, Move
from tulle.discovery.wire import encode
from tulle.translate.snapshot import Bundle, Entry, Snapshot

contents = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2))


def of(content: dict[str, int]) -> list[Entry]:
    return [entry(CDS, name, str(version)) for name, version in content.items()]


@given(contents, contents, st.booleans(), st.frozensets(st.sampled_from("abcdefxyz")), st.data())
def test_a_move_says_all_that_differs(old: dict, new: dict, wildcard: bool, names: frozenset[str], data: st.DataObject) -> None:
    shared = Shared()
    interest = shared.interest(wildcard=wildcard, names=names)
    asked = frozenset(data.draw(st.sets(st.sampled_from(sorted(names))))) if names else frozenset()
    halves = {name: version for name, version in old.items() if name in "abc"}
    before = snapshot(Bundle.of(of(halves)), *of({n: v for n, v in old.items() if n not in halves}))
    move = shared.move(CDS, before, snapshot(*of(new)), interest, asked)
    wanted = {n for n in new if interest.covers(n) and (old.get(n) != new[n] or n in asked)}
    assert {e.name: e.body for e in move.changed} == {n: str(new[n]).encode() for n in wanted}
    assert {e.name for e in move.gone} == {n for n in old if n not in new and interest.covers(n)}
    assert set(move.unknown) == asked - new.keys()


def test_an_interest_is_one_object() -> None:
    shared = Shared()
    one, other = (shared.interest(wildcard=False, names=frozenset(names)) for names in (["a", "b"], ["b", "a"]))
    assert one is other
    assert shared.interest(wildcard=True, names=frozenset("ab")) is not one


def test_bundles_that_did_not_change_cost_nothing() -> None:
    shared, kept = Shared(), Bundle.of(of({"a": 1}))
    old, new = (Snapshot(bundles=(kept, Bundle.of([entry(EDS, "a", body)]))) for body in ("x", "y"))
    assert shared.move(CDS, old, new, shared.interest(wildcard=True, names=frozenset())) is STAY


def test_a_body_is_encoded_once() -> None:
    shared = Shared()
    everything = shared.interest(wildcard=True, names=frozenset())
    old, new = snapshot(*of({"a": 1})), snapshot(*of({"a": 2}))
    times = []

    def make(_: Move) -> bytes:
        times.append(1)
        return encode(Mode.DELTA, CDS, of({"a": 2}))

    bodies = [shared.encoded(shared.move(CDS, old, new, everything), Mode.DELTA, make) for _ in range(3)]
    assert len(times) == 1
    assert bodies[0] is bodies[2]


def test_bundles_are_not_kept_alive_and_old_results_are_swept_out() -> None:
    shared = Shared()
    everything = shared.interest(wildcard=True, names=frozenset())
    first = Bundle.of(of({"a": 0}))
    watched = weakref.ref(first)
    before = Snapshot(bundles=(first,))
    del first
    for version in range(1, 200):
        after = snapshot(*of({"a": version}))
        move = shared.move(CDS, before, after, everything)
        shared.encoded(move, Mode.DELTA, lambda _: b"x" * 1000)
        before = after
    gc.collect()
    assert watched() is None
    assert len(shared) < 70


def test_bodies_are_kept_up_to_the_limit() -> None:
    shared = Shared(limit=5000)
    everything = shared.interest(wildcard=True, names=frozenset())
    kept = [snapshot(*of({"a": version})) for version in range(20)]
    for old, new in itertools.pairwise(kept):
        shared.encoded(shared.move(CDS, old, new, everything), Mode.DELTA, lambda _: b"x" * 1000)
    assert len(shared) == 5
