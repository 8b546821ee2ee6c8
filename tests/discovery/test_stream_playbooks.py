"""Conversations with a stream: the rules of the xDS protocol, one by one."""

from __future__ import annotations

import pytest

from support.playbook import Playbook, ack, ask, entry, finished, nack, snapshot
from tulle.discovery import CDS, EDS, LDS, RDS, Mode, Reminded, Shared
from tulle.translate.snapshot import Bundle, Snapshot

__all__ = ["finished"]

DELTA, SOTW = Mode.DELTA, Mode.SOTW
A = entry(CDS, "a", "a1")
EA = entry(EDS, "a", "ea1")
B = entry(CDS, "b", "b1")
EB = entry(EDS, "b", "eb1")
L = entry(LDS, "l", "l1")
RA = entry(RDS, "r", "to a")
RB = entry(RDS, "r", "to b")


def started(mode: Mode, **snapshots: Snapshot) -> Playbook:
    """An Envoy that has all of a first snapshot with cluster a, listener l and table r. Nonces 1 to 4 and no reminder are used up."""
    play = Playbook(mode, **snapshots)
    names = {EDS: ("a",), RDS: ("r",)} if mode is SOTW else {EDS: (), RDS: ()}
    for event in (
        ask(CDS),
        ask(EDS, "a"),
        ack(CDS, 1),
        ack(EDS, 2, *names[EDS]),
        ask(LDS),
        ask(RDS, "r"),
        ack(LDS, 3),
        ack(RDS, 4, *names[RDS]),
    ):
        play.stream.on(event)
    assert play.stream.idle
    return play


def first() -> Snapshot:
    return snapshot(A, EA, L, RA)


def test_clusters_and_endpoints_come_before_listeners_and_routes() -> None:
    play = Playbook(DELTA, old=first())
    play >> ask(CDS) << "send CDS 1: +a"
    play >> ask(LDS)
    play >> ask(RDS, "r")
    play >> ack(CDS, 1) << "acknowledged CDS old" << "remind patience 1"
    play >> ask(EDS, "a") << "send EDS 2: +a"
    play >> ack(EDS, 2) << "acknowledged EDS old" << "send LDS 3: +l" << "send RDS 4: +r"
    play >> ack(LDS, 3) << "acknowledged LDS old"
    play >> ack(RDS, 4) << "acknowledged RDS old" << "complete old"
    play.done()


def test_a_route_moves_to_a_new_cluster_and_the_old_one_goes_last() -> None:
    play = started(DELTA, old=first(), new=snapshot(B, EB, L, RB))
    play >> "new" << "send CDS 5: +b" << "acknowledged EDS new"
    play >> ask(EDS, "b") << "send EDS 6: +b"
    play >> ack(CDS, 5) << "acknowledged CDS new"
    play >> ack(EDS, 6) << "acknowledged LDS new" << "send RDS 7: +r"
    play >> ack(RDS, 7) << "acknowledged RDS new" << "remind linger 1" << "complete new"
    play >> Reminded(token=1) << "send CDS 8: -a"
    play >> ask(EDS, gone=("a",))
    play >> ack(CDS, 8)
    play.done()
    assert play.stream.idle


def test_the_same_in_state_of_the_world_first_sends_both_clusters() -> None:
    play = started(SOTW, old=first(), new=snapshot(B, EB, L, RB))
    play >> "new" << "send CDS 5: =a1 =b1" << "acknowledged EDS new"
    play >> ask(EDS, "a", "b", nonce=2) << "send EDS 6: =eb1"
    play >> ack(CDS, 5) << "acknowledged CDS new"
    play >> ack(EDS, 6, "a", "b") << "acknowledged LDS new" << "send RDS 7: =to b"
    play >> ack(RDS, 7, "r") << "acknowledged RDS new" << "remind linger 1" << "complete new"
    play >> Reminded(token=1) << "send CDS 8: =b1"
    play >> ask(EDS, "b", nonce=6)
    play >> ack(CDS, 8)
    play.done()
    assert play.stream.idle


def test_a_newer_snapshot_replaces_the_target_in_the_middle() -> None:
    c, ec, rc = entry(CDS, "c", "c1"), entry(EDS, "c", "ec1"), entry(RDS, "r", "to c")
    play = started(DELTA, old=first(), never=snapshot(B, EB, L, RB), new=snapshot(c, ec, L, rc))
    play >> "never" << "send CDS 5: +b" << "acknowledged EDS never"
    play >> "new"
    play >> ask(EDS, "b") << "send EDS 6: +b"
    play >> ack(CDS, 5) << "acknowledged CDS never" << "send CDS 7: +c"
    # Listeners and routes may go as far as clusters have got; what became superfluous meanwhile goes with the rest.
    play >> ack(EDS, 6) << "acknowledged EDS new" << "acknowledged LDS never" << "send RDS 8: +r"
    play >> ask(EDS, "c") << "send EDS 9: +c"
    play >> ack(CDS, 7) << "acknowledged CDS new"
    play >> ack(EDS, 9) << "acknowledged LDS new"
    play >> ack(RDS, 8) << "acknowledged RDS never" << "send RDS 10: +r"
    play >> ack(RDS, 10) << "acknowledged RDS new" << "remind linger 1" << "complete new"
    play >> Reminded(token=1) << "send CDS 11: -a -b"
    play.done()


def test_a_slow_client_gets_only_the_latest() -> None:
    seconds = {f"s{n}": snapshot(A, entry(EDS, "a", f"ea{n}"), L, RA) for n in range(2, 9)}
    play = started(DELTA, old=first(), **seconds)
    play >> "s2" << "acknowledged CDS s2" << "send EDS 5: +a"
    for n in range(3, 9):
        play >> f"s{n}" << f"acknowledged CDS s{n}"
    play >> ack(EDS, 5) << "acknowledged EDS s2" << "send EDS 6: +a" << "acknowledged LDS s2" << "acknowledged RDS s2"
    play >> ack(EDS, 6) << "acknowledged EDS s8" << "acknowledged LDS s8" << "acknowledged RDS s8" << "complete s8"
    play.done()


@pytest.mark.parametrize("mode", [DELTA, SOTW])
def test_a_changed_cluster_brings_its_endpoints_again(mode: Mode) -> None:
    play = started(mode, old=first(), new=snapshot(entry(CDS, "a", "a2"), EA, L, RA))
    cds, eds = ("+a", "+a") if mode is DELTA else ("=a2", "=ea1")
    play >> "new" << f"send CDS 5: {cds}" << f"send EDS 6: {eds}"
    play.done()


def test_what_did_not_change_is_not_sent() -> None:
    same = snapshot(entry(CDS, "a", "a1"), EA, L, RA)
    play = started(DELTA, old=first(), same=same)
    play >> "same" << "acknowledged CDS same" << "acknowledged EDS same"
    play << "acknowledged LDS same" << "acknowledged RDS same" << "complete same"
    play.done()


def test_unknown_names_are_answered_with_their_removal() -> None:
    play = Playbook(DELTA, old=snapshot(A))
    play >> ask(CDS, "a", "x") << "send CDS 1: +a -x"
    play >> ask(EDS, "y") << "send EDS 2: -y"
    play.done()


def test_unknown_names_are_left_out_of_the_state_of_the_world() -> None:
    play = Playbook(SOTW, old=snapshot(A, EA))
    play >> ask(CDS, "a", "x") << "send CDS 1: =a1"
    play >> ask(EDS, "y") << "acknowledged EDS old"
    play >> ask(LDS, "nowhere")
    play >> ask(RDS, "r")
    play.done()


def test_subscribing_again_sends_again() -> None:
    play = started(DELTA, old=first())
    play >> ask(EDS, "a") << "send EDS 5: +a"
    play.done()


def test_a_name_not_wanted_any_longer_is_not_sent() -> None:
    play = started(DELTA, old=first(), new=snapshot(A, entry(EDS, "a", "ea2"), L, RA))
    play >> ask(EDS, gone=("a",))
    play >> "new" << "acknowledged CDS new" << "acknowledged EDS new" << "remind patience 1"
    play >> Reminded(token=1) << "acknowledged LDS new" << "acknowledged RDS new" << "complete new"
    play.done()


def test_an_explicit_wildcard_and_names_beside_it() -> None:
    play = Playbook(DELTA, old=snapshot(A, B), less=snapshot(B))
    play >> ask(CDS, "a") << "send CDS 1: +a"
    play >> ack(CDS, 1) << "acknowledged CDS old"
    play >> ask(CDS, "*") << "send CDS 2: +a +b"
    play >> ack(CDS, 2)
    # The name is still covered by the wildcard: what it is now is said again.
    play >> ask(CDS, gone=("a",)) << "send CDS 3: +a"
    play >> ack(CDS, 3)
    play >> ask(CDS, gone=("*",))
    play >> "less" << "acknowledged CDS less"
    play.done()


def test_an_empty_wildcard_is_answered() -> None:
    play = Playbook(DELTA, old=snapshot())
    play >> ask(CDS) << "send CDS 1:"
    play >> ack(CDS, 1) << "acknowledged CDS old"
    play >> ask(LDS) << "send LDS 2:"
    play.done()
    play = Playbook(SOTW, old=snapshot())
    play >> ask(CDS) << "send CDS 1:"
    play >> ack(CDS, 1) << "acknowledged CDS old"
    play >> ask(LDS) << "send LDS 2:"
    play.done()


def test_a_wildcard_of_the_state_of_the_world_ends_with_the_first_name() -> None:
    play = Playbook(SOTW, old=snapshot(A, B))
    play >> ask(CDS) << "send CDS 1: =a1 =b1"
    play >> ack(CDS, 1) << "acknowledged CDS old"
    play >> ask(CDS, "a", nonce=1) << "send CDS 2: =a1"
    play >> ack(CDS, 2, "a")
    play >> ask(CDS, nonce=2)
    play.done()


def test_stale_requests_of_the_state_of_the_world_are_passed_over() -> None:
    play = started(SOTW, old=first(), new=snapshot(A, entry(EDS, "a", "ea2"), L, RA))
    play >> "new" << "acknowledged CDS new" << "send EDS 5: =ea2"
    play >> ask(EDS, "a", "b", nonce=2)
    play >> ack(EDS, 5, "a", "b") << "acknowledged EDS new" << "acknowledged LDS new" << "acknowledged RDS new" << "complete new"
    play.done()


def test_a_late_acknowledgement_of_delta_still_subscribes() -> None:
    play = started(DELTA, old=first())
    play >> ask(EDS, "x", nonce=99) << "send EDS 5: -x"
    play.done()


def test_a_resuming_client_gets_what_changed_and_loses_what_went() -> None:
    new = snapshot(A, EA, B, EB, L, RA)
    held = {CDS: {"a": A.version, "b": "older", "gone": "x"}, EDS: {"a": EA.version, "b": EB.version, "gone": "x"}}
    play = Playbook(DELTA, new=new)
    play >> ask(CDS, held=held[CDS]) << "send CDS 1: +b"
    # b is sent again although it did not change: the changed cluster waits for it.
    play >> ask(EDS, "a", "b", "gone", held=held[EDS]) << "send EDS 2: +b"
    play >> ask(LDS, held={"l": L.version})
    play >> ask(RDS, "r", held={"r": RA.version})
    play >> ack(CDS, 1) << "acknowledged CDS new"
    play >> ack(EDS, 2) << "acknowledged EDS new" << "send LDS 3:" << "acknowledged RDS new"
    play >> ack(LDS, 3) << "acknowledged LDS new" << "remind linger 1" << "complete new"
    play >> Reminded(token=1) << "send CDS 4: -gone"
    play >> ack(CDS, 4) << "send EDS 5: -gone"
    play >> ack(EDS, 5)
    play.done()
    assert play.stream.idle


def test_a_refused_cluster_is_named_and_routes_wait_only_for_a_while() -> None:
    bad, good = entry(CDS, "bad", "x"), entry(CDS, "c", "c1")
    play = started(DELTA, old=first(), new=snapshot(A, EA, bad, good, L, RB))
    why = "Error adding/updating cluster(s) bad: no such thing"
    play >> "new" << "send CDS 5: +bad +c" << "acknowledged EDS new"
    play >> nack(CDS, 5, why) << f"rejected CDS new: bad: {why}" << "remind patience 1"
    play >> Reminded(token=1) << "acknowledged LDS new" << "send RDS 6: +r"
    play >> ack(RDS, 6) << "acknowledged RDS new"
    play.done()
    assert play.stream.acknowledged(CDS) is play._snapshots["old"]


@pytest.mark.parametrize(("mode", "sent"), [(DELTA, "+m"), (SOTW, "=l1 =m1")])
def test_a_listener_whose_port_is_taken_is_tried_again_and_told_once(mode: Mode, sent: str) -> None:
    play = started(mode, old=first(), new=snapshot(A, EA, L, entry(LDS, "m", "m1"), RA))
    why = "Error adding/updating listener(s) m: cannot bind '127.0.0.1:80': Address already in use"
    play >> "new" << "acknowledged CDS new" << "acknowledged EDS new" << f"send LDS 5: {sent}" << "acknowledged RDS new"
    play >> nack(LDS, 5, why) << f"rejected LDS new: m: {why}" << "remind retry 1"
    play >> Reminded(token=1) << f"send LDS 6: {sent}"
    play >> nack(LDS, 6, why) << "remind retry 2"
    play >> Reminded(token=2) << f"send LDS 7: {sent}"
    play >> ack(LDS, 7) << "acknowledged LDS new" << "complete new"
    play.done()
    assert play.stream.idle


def test_the_next_snapshot_does_not_wait_for_what_was_refused_before() -> None:
    bad = entry(CDS, "bad", "x")
    play = started(DELTA, old=first(), bad=snapshot(A, EA, bad, L, RA), good=snapshot(A, EA, L, RB))
    play >> "bad" << "send CDS 5: +bad" << "acknowledged EDS bad"
    play >> nack(CDS, 5, "bad: is bad") << "rejected CDS bad: bad: bad: is bad" << "remind patience 1"
    play >> "good" << "acknowledged CDS good" << "acknowledged EDS good" << "acknowledged LDS good" << "send RDS 6: +r"
    play >> ack(RDS, 6) << "acknowledged RDS good" << "remind linger 2" << "complete good"
    play >> Reminded(token=2) << "send CDS 7: -bad"
    play >> ack(CDS, 7)
    play.done()
    assert play.stream.idle


def test_a_refusal_without_a_name_is_narrowed_down_by_halving() -> None:
    tables = [entry(RDS, f"r{n}", "x") for n in range(5)]
    play = Playbook(DELTA, all=snapshot(*tables))
    play >> ask(RDS, *(t.name for t in tables)) << "send RDS 1: +r0 +r1 +r2 +r3 +r4"
    play >> nack(RDS, 1, "is bad") << "send RDS 2: +r0 +r1 +r2"
    play >> ack(RDS, 2) << "send RDS 3: +r3 +r4"
    play >> nack(RDS, 3, "is bad") << "send RDS 4: +r3"
    play >> nack(RDS, 4, "is bad") << "rejected RDS all: r3: is bad" << "send RDS 5: +r4"
    play >> ack(RDS, 5)
    play.done()


def test_old_clusters_stay_while_the_new_routes_are_refused() -> None:
    play = started(DELTA, old=first(), new=snapshot(B, EB, L, RB), better=snapshot(B, EB, L, entry(RDS, "r", "to b, better")))
    play >> "new" << "send CDS 5: +b" << "acknowledged EDS new"
    play >> ask(EDS, "b") << "send EDS 6: +b"
    play >> ack(CDS, 5) << "acknowledged CDS new"
    play >> ack(EDS, 6) << "acknowledged LDS new" << "send RDS 7: +r"
    play >> nack(RDS, 7, "bad route") << "rejected RDS new: r: bad route"
    play >> "better" << "acknowledged CDS better" << "acknowledged EDS better" << "acknowledged LDS better" << "send RDS 8: +r"
    play >> ack(RDS, 8) << "acknowledged RDS better" << "remind linger 1" << "complete better"
    play >> Reminded(token=1) << "send CDS 9: -a"
    play.done()


def test_in_the_state_of_the_world_the_old_stands_in_for_the_refused() -> None:
    bad, c = entry(CDS, "a", "a-bad"), entry(CDS, "c", "c1")
    play = started(SOTW, old=first(), bad=snapshot(bad, EA, L, RA), more=snapshot(bad, c, EA, L, RA))
    play >> "bad" << "send CDS 5: =a-bad" << "send EDS 6: =ea1"
    play >> nack(CDS, 5, "Error adding/updating cluster(s) a: bad") << "rejected CDS bad: a: Error adding/updating cluster(s) a: bad"
    play >> ack(EDS, 6, "a") << "acknowledged EDS bad" << "remind patience 1"
    play >> "more" << "send CDS 7: =a1 =c1" << "acknowledged EDS more"
    play.done()


def test_a_grpc_client_asks_from_the_other_end() -> None:
    play = Playbook(SOTW, old=first(), new=snapshot(B, EB, L, RB))
    play >> ask(LDS, "l") << "send LDS 1: =l1"
    play >> ask(RDS, "r") << "send RDS 2: =to a"
    play >> ack(LDS, 1, "l") << "acknowledged LDS old"
    play >> ack(RDS, 2, "r") << "acknowledged RDS old"
    play >> ask(CDS, "a") << "send CDS 3: =a1"
    play >> ask(EDS, "a") << "send EDS 4: =ea1"
    play >> ack(CDS, 3, "a") << "acknowledged CDS old"
    play >> ack(EDS, 4, "a") << "acknowledged EDS old" << "complete old"
    # It hears of the new cluster from the new routes only.
    play >> "new" << "acknowledged CDS new" << "acknowledged EDS new" << "acknowledged LDS new" << "send RDS 5: =to b"
    play >> ack(RDS, 5, "r") << "acknowledged RDS new" << "remind linger 1" << "complete new"
    play >> ask(CDS, "a", "b", nonce=3) << "send CDS 6: =a1 =b1"
    play >> ack(CDS, 6, "a", "b")
    play >> ask(EDS, "a", "b", nonce=4) << "send EDS 7: =eb1"
    play >> ask(CDS, "b", nonce=6)
    play >> ack(EDS, 7, "b")
    play.done()


def test_work_is_shared_between_streams() -> None:
    base, own = Bundle.of([A, EA, L, RA]), [Bundle.of([entry(LDS, f"own{n}", "x")]) for n in range(2)]
    changed = Bundle.of([A, entry(EDS, "a", "ea2"), L, RA])
    shared = Shared()
    bodies = []
    for mine in own:
        play = Playbook(DELTA, shared=shared, old=Snapshot(bundles=(base, mine)), new=Snapshot(bundles=(changed, mine)))
        for event in (ask(CDS), ask(EDS, "a"), ack(CDS, 1), ack(EDS, 2)):
            play.stream.on(event)
        play >> "new" << "acknowledged CDS new" << "send EDS 3: +a"
        play.done()
        bodies.append(
            shared.move(EDS, play._snapshots["old"], play._snapshots["new"], shared.interest(wildcard=False, names=frozenset("a")))
        )
    assert bodies[0] is bodies[1]


def test_a_stale_request_does_not_take_names_away() -> None:
    play = started(SOTW, old=first(), new=snapshot(A, entry(EDS, "a", "ea2"), L, RA))
    play >> "new" << "acknowledged CDS new" << "send EDS 5: =ea2"
    play >> ask(EDS, nonce=2)
    play >> ack(EDS, 5, "a") << "acknowledged EDS new" << "acknowledged LDS new" << "acknowledged RDS new" << "complete new"
    play.done()


def test_endpoints_stay_while_the_cluster_that_no_longer_needs_them_is_refused() -> None:
    static = entry(CDS, "a", "static")
    play = started(DELTA, old=first(), new=snapshot(static, L, RA))
    play >> "new" << "send CDS 5: +a" << "acknowledged EDS new"
    play >> nack(CDS, 5, "a: bad") << "rejected CDS new: a: a: bad" << "remind patience 1"
    play >> Reminded(token=1) << "acknowledged LDS new" << "acknowledged RDS new"
    play.done()


def test_a_resuming_client_keeps_old_clusters_until_its_listeners_are_known() -> None:
    play = Playbook(DELTA, new=snapshot(B, L, RB))
    play >> ask(CDS, held={"a": A.version, "b": B.version}) << "send CDS 1:"
    play >> ack(CDS, 1) << "acknowledged CDS new" << "remind patience 1"
    play >> ask(LDS, held={"l": L.version}) << "send LDS 2:"
    play >> ask(RDS, "r", held={"r": RA.version}) << "send RDS 3: +r"
    play >> ack(LDS, 2) << "acknowledged LDS new"
    play >> ack(RDS, 3) << "acknowledged RDS new" << "remind linger 2" << "complete new"
    play >> Reminded(token=2) << "send CDS 4: -a"
    play.done()


def test_old_clusters_stay_until_a_listeners_new_table_has_come() -> None:
    moved, table = entry(LDS, "l", "with s"), entry(RDS, "s", "to b")
    play = started(DELTA, old=first(), new=snapshot(B, moved, table))
    play >> "new" << "send CDS 5: +b" << "acknowledged EDS new"
    play >> ack(CDS, 5) << "acknowledged CDS new" << "send LDS 6: +l" << "acknowledged RDS new" << "remind patience 1"
    play >> ack(LDS, 6) << "acknowledged LDS new"
    play >> ask(RDS, "s") << "send RDS 7: +s"
    play >> ack(RDS, 7) << "remind linger 2" << "send RDS 8: -r"
    play.done()


def test_what_was_refused_beside_a_named_route_table_is_sent_again() -> None:
    play = Playbook(DELTA, all=snapshot(entry(RDS, "r0", "x"), entry(RDS, "r1", "x"), entry(RDS, "r2", "x")))
    play >> ask(RDS, "r0", "r1", "r2") << "send RDS 1: +r0 +r1 +r2"
    play >> nack(RDS, 1, "r1: bad") << "rejected RDS all: r1: r1: bad" << "send RDS 2: +r0 +r2"
    play >> ack(RDS, 2)
    play.done()


def test_a_new_snapshot_ends_the_search_and_brings_what_was_not_tried() -> None:
    r0, r1, more = entry(RDS, "r0", "x"), entry(RDS, "r1", "x"), entry(LDS, "l", "x")
    play = Playbook(DELTA, all=snapshot(r0, r1), more=snapshot(r0, r1, more))
    play >> ask(RDS, "r0", "r1") << "send RDS 1: +r0 +r1"
    play >> nack(RDS, 1, "is bad") << "send RDS 2: +r0"
    play >> "more"
    play >> ack(RDS, 2) << "send RDS 3: +r1"
    play >> ack(RDS, 3) << "acknowledged RDS more"
    play.done()


def test_what_is_about_to_go_is_still_there_for_who_asks() -> None:
    play = started(DELTA, old=first(), new=snapshot(B, EB, L, RB))
    play >> "new" << "send CDS 5: +b" << "acknowledged EDS new"
    play >> ask(EDS, "a", "b") << "send EDS 6: +a +b"
    play.done()
