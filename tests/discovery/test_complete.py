"""When a client is said to hold everything: not before it has asked for what its listeners and clusters name."""

from __future__ import annotations

from support.playbook import Playbook, ack, ask, entry, finished, nack, snapshot
from tulle.discovery import CDS, EDS, LDS, RDS, SDS, Mode, Reminded
from tulle.translate.snapshot import Entry, Snapshot

__all__ = ["finished"]

A = entry(CDS, "a", "a1")
EA = entry(EDS, "a", "ea1")
L = entry(LDS, "l", "l1", references=((RDS, "r"),))
R = entry(RDS, "r", "to a")
M = entry(LDS, "m", "m1", references=((RDS, "s"), (SDS, "key")))
S = entry(RDS, "s", "to a")
KEY = entry(SDS, "key", "k1")


def holding(new: Snapshot, *more: Entry) -> Playbook:
    """An Envoy that has all of a first snapshot. Nonces 1 to 4 and no reminder are used up."""
    play = Playbook(Mode.DELTA, old=snapshot(A, EA, L, R), new=new, last=snapshot(A, EA, L, R, *more))
    for event in (ask(CDS), ask(EDS, "a"), ack(CDS, 1), ack(EDS, 2), ask(LDS), ask(RDS, "r"), ack(LDS, 3), ack(RDS, 4)):
        play.stream.on(event)
    return play


def test_a_listener_is_not_in_service_before_its_routes_and_secrets_have_come() -> None:
    play = holding(snapshot(A, EA, L, R, M, S, KEY))
    play >> "new" << "acknowledged CDS new" << "acknowledged EDS new" << "send LDS 5: +m" << "acknowledged RDS new"
    play >> ack(LDS, 5) << "acknowledged LDS new" << "remind patience 1"
    play >> ask(RDS, "s") << "send RDS 6: +s"
    play >> ack(RDS, 6) << "remind patience 2"
    play >> ask(SDS, "key") << "send SDS 7: +key"
    play >> ack(SDS, 7) << "acknowledged SDS new" << "complete new"
    play.done()


def test_a_cluster_is_not_in_service_before_its_secrets_have_come() -> None:
    play = holding(snapshot(A, EA, L, R, entry(CDS, "b", "b1", references=((SDS, "key"),)), KEY))
    play >> "new" << "send CDS 5: +b" << "acknowledged EDS new"
    play >> ack(CDS, 5) << "acknowledged CDS new" << "acknowledged LDS new" << "acknowledged RDS new" << "remind patience 1"
    play >> ask(SDS, "key") << "send SDS 6: +key"
    play >> ack(SDS, 6) << "acknowledged SDS new" << "complete new"
    play.done()


def test_what_is_never_asked_for_is_waited_for_once() -> None:
    play = holding(snapshot(A, EA, L, R, M, S, KEY), entry(LDS, "n", "n1"), S)
    play >> "new" << "acknowledged CDS new" << "acknowledged EDS new" << "send LDS 5: +m" << "acknowledged RDS new"
    play >> ack(LDS, 5) << "acknowledged LDS new" << "remind patience 1"
    play >> Reminded(token=1) << "complete new"
    play >> "last" << "acknowledged CDS last" << "acknowledged EDS last" << "send LDS 6: +n -m" << "acknowledged RDS last"
    play >> ack(LDS, 6) << "acknowledged LDS last" << "complete last"
    play.done()


def test_a_client_that_refuses_something_does_not_hold_everything() -> None:
    play = holding(snapshot(A, EA, L, R, M, S, KEY))
    play >> "new" << "acknowledged CDS new" << "acknowledged EDS new" << "send LDS 5: +m" << "acknowledged RDS new"
    play >> nack(LDS, 5, "m: bad") << "rejected LDS new: m: m: bad"
    play >> "last" << "acknowledged CDS last" << "acknowledged EDS last" << "send LDS 6: -m" << "acknowledged RDS last"
    play >> ack(LDS, 6) << "acknowledged LDS last" << "complete last"
    play.done()


def test_a_secret_that_nothing_needs_is_not_waited_for() -> None:
    play = holding(snapshot(A, EA, L, R, KEY))
    play >> "new" << "acknowledged CDS new" << "acknowledged EDS new" << "acknowledged LDS new" << "acknowledged RDS new" << "complete new"
    play.done()


def test_what_is_complete_is_said_once() -> None:
    play = holding(snapshot(A, EA, L, R, S))
    play >> ask(RDS, "r") << "send RDS 5: +r"
    play >> ack(RDS, 5)
    play.done()
