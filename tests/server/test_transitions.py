"""Since when conditions are as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tulle.model.resource import Key
from tulle.server.transitions import Transitions

KEY = Key(kind="HTTPRoute", namespace="default", name="web")
START = datetime(2026, 3, 1, 10, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def condition(type_: str, status: str) -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": "Because", "message": ""}


def parent(name: str, status: str) -> dict[str, Any]:
    return {"parentRef": {"name": name}, "conditions": [condition("Accepted", status), condition("ResolvedRefs", "True")]}


def times(told: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {p["parentRef"]["name"]: {c["type"]: c["lastTransitionTime"][-3:-1] for c in p["conditions"]} for p in told["parents"]}


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    of = Transitions()
    both = {"parents": [parent("a", "True"), parent("b", "True")]}
    first = of.dated(KEY, 1, both, at(1))
    assert first["parents"][0]["conditions"][0]["lastTransitionTime"] == "2026-03-01T10:00:01Z"
    assert of.dated(KEY, 1, both, at(5)) == first
    later = of.dated(KEY, 1, {"parents": [parent("b", "False"), parent("a", "True")]}, at(9))
    assert times(later) == {"a": {"Accepted": "01", "ResolvedRefs": "01"}, "b": {"Accepted": "09", "ResolvedRefs": "01"}}
    back = of.dated(KEY, 1, both, at(12))
    assert times(back)["b"] == {"Accepted": "12", "ResolvedRefs": "01"}


def test_another_reason_is_no_transition() -> None:
    of = Transitions()
    of.dated(KEY, 1, {"conditions": [condition("Programmed", "False")]}, at(1))
    said = {"conditions": [condition("Programmed", "False") | {"reason": "Another"}]}
    assert of.dated(KEY, 1, said, at(2))["conditions"][0]["lastTransitionTime"].endswith(":01Z")


def test_a_document_made_anew_has_no_past() -> None:
    of = Transitions()
    said = {"conditions": [condition("Accepted", "True")]}
    for created, seconds in ((1, 1), (2, 2), (2, 3)):
        found = of.dated(KEY, created, said, at(seconds))["conditions"][0]["lastTransitionTime"]
        assert found.endswith(f":0{min(seconds, 2)}Z")
    of.forget(KEY)
    assert of.dated(KEY, 2, said, at(4))["conditions"][0]["lastTransitionTime"].endswith(":04Z")


def test_times_are_of_greenwich_and_the_rest_is_left_alone() -> None:
    told = {"addresses": [{"type": "IPAddress", "value": "127.0.0.1"}], "conditions": [condition("Accepted", "True")]}
    east = datetime.fromisoformat("2026-03-01T12:00:00+02:00")
    found = Transitions().dated(KEY, 1, told, east)
    assert found["addresses"] == told["addresses"]
    assert found["conditions"] == [condition("Accepted", "True") | {"lastTransitionTime": "2026-03-01T10:00:00Z"}]
