"""Registrations: what may be registered, and how long it stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.sqlite import SqliteHarness, sqlite_harness
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.service import Health, Protocol, RegisteredPort, Registration
from tulle.registry import form
from tulle.registry.registrations import Registrations
from tulle.store.leased import LeasedValues

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
WORDS = st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), max_size=3).map(FrozenMap)
PORT = st.integers(1, 65535)


@st.composite
def registrations(draw: st.DrawFn) -> Registration:
    numbers = draw(st.lists(PORT, unique=True, max_size=4))
    ports = tuple(
        RegisteredPort(number=n, target=draw(PORT), name=f"p{n}" if draw(st.booleans()) else "", protocol=draw(st.sampled_from(Protocol)))
        for n in numbers
    )
    locality = Locality.parse(draw(st.sampled_from(["", "r", "r/z", "r/z/s"])))
    return Registration(
        id=draw(st.from_regex(r"[A-Za-z0-9][-A-Za-z0-9_.:~/@]{0,30}", fullmatch=True)),
        service=draw(NAMES),
        namespace=draw(NAMES),
        address=str(draw(st.ip_addresses())),
        ports=ports,
        labels=draw(WORDS),
        service_account=draw(NAMES),
        locality=locality,
        weight=draw(st.integers(0, 1000)),
        health=draw(st.sampled_from(Health)),
        proxy=draw(st.text(max_size=20)),
        meta=draw(WORDS),
    )


@given(registration=registrations())
def test_what_is_written_is_read_again(registration: Registration) -> None:
    assert form.parse(registration.id, form.dump(registration)) == registration


def test_only_the_service_must_be_given() -> None:
    found = form.parse("r-1", b'{"service": "reviews", "ports": [{"number": 9080}]}')
    assert found == Registration(id="r-1", service="reviews", ports=(RegisteredPort(number=9080, target=9080),))


@pytest.mark.parametrize("written", ["http2", "HTTP2", "Http2"])
def test_protocols_are_taken_in_any_case(written: str) -> None:
    found = form.parse("r-1", json.dumps({"service": "a", "ports": [{"number": 1, "protocol": written}]}).encode())
    assert found.ports[0].protocol is Protocol.HTTP2


@pytest.mark.parametrize(
    ("body", "mistakes"),
    [
        ({}, ["service: required"]),
        ({"service": "a", "sevrice": 1}, ["sevrice: unknown field"]),
        ({"service": "Reviews"}, ["service: must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"]),
        ({"service": "a.b", "namespace": ""}, ["service: must be", "namespace: must be"]),
        ({"service": "a", "address": "localhost"}, ["address: 'localhost' is not an IP address"]),
        ({"service": "a", "ports": [{"number": 0}]}, ["ports[0].number: "]),
        ({"service": "a", "ports": [{"number": "80"}]}, ["ports[0].number: "]),
        ({"service": "a", "ports": [{"number": 80}, {"number": 80}]}, ["ports: number 80 is given twice"]),
        ({"service": "a", "ports": [{"number": 80, "name": "x"}, {"number": 81, "name": "x"}]}, ["ports: name x is given twice"]),
        ({"service": "a", "ports": [{"number": 80, "protocol": "smtp"}]}, ["ports[0].protocol: "]),
        ({"service": "a", "weight": -1}, ["weight: "]),
        ({"service": "a", "health": "fine"}, ["health: "]),
        ({"service": "a", "labels": {"a": 1}}, ["labels.a: "]),
        ({"service": "a", "id": "other"}, ["id: 'other' is not the id that the request names, 'r-1'"]),
        ([], [""]),
    ],
)
def test_all_mistakes_are_told_with_their_fields(body: Any, mistakes: list[str]) -> None:
    with pytest.raises(form.RegistrationError) as caught:
        form.parse("r-1", json.dumps(body).encode())
    told = [str(mistake) for mistake in caught.value.mistakes]
    assert len(told) == len(mistakes)
    assert all(one.startswith(start) for one, start in zip(told, mistakes, strict=True)), told


@pytest.mark.parametrize("identifier", ["", " a", "-a", "a b", "a\n", "ä", "a" * 300, "a?b"])
def test_ids_that_cannot_be(identifier: str) -> None:
    with pytest.raises(form.RegistrationError, match="cannot be an id"):
        form.parse(identifier, b'{"service": "a"}')


@given(body=st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    with pytest.raises(form.RegistrationError):
        form.parse("r-1", body)


def on_registrations(test: Callable[[Registrations, SqliteHarness], Awaitable[None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        async def body() -> None:
            async with asyncio.timeout(60), sqlite_harness(tmp_path / "t.db") as harness:
                await test(Registrations(LeasedValues(harness.store, "registrations/")), harness)

        asyncio.run(body())

    run.__name__ = test.__name__
    return run


REVIEWS = Registration(id="reviews/1", service="reviews", ports=(RegisteredPort(number=9080, target=4711),))
OTHER = Registration(id="other", service="other")


@on_registrations
async def test_a_renewal_has_no_revision_of_its_own(registrations: Registrations, harness: SqliteHarness) -> None:
    revision = await registrations.register(REVIEWS, 10)
    for _ in range(4):
        await harness.advance(6)
        assert await registrations.register(REVIEWS, 10) == revision
    assert (await harness.store.range("")).revision == revision
    assert await registrations.all() == {"reviews/1": REVIEWS}


@on_registrations
async def test_what_is_not_renewed_goes(registrations: Registrations, harness: SqliteHarness) -> None:
    await registrations.register(REVIEWS, 10)
    await registrations.register(OTHER, 30)
    await harness.advance(12)
    assert await registrations.all() == {"other": OTHER}


@on_registrations
async def test_what_a_membership_registered_is_known_while_it_is_there(registrations: Registrations, harness: SqliteHarness) -> None:
    await registrations.register(REVIEWS, 10, "member")
    await registrations.register(OTHER, 30)
    assert (registrations.of("member"), registrations.memberships()) == ({"reviews/1"}, {"member"})
    await harness.advance(12)
    await registrations.all()
    assert (registrations.of("member"), registrations.memberships()) == (frozenset(), frozenset())


@on_registrations
async def test_a_changed_registration_lives_on_its_new_time(registrations: Registrations, harness: SqliteHarness) -> None:
    first = await registrations.register(OTHER, 10)
    changed = Registration(id="other", service="other", weight=5)
    await harness.advance(8)
    assert await registrations.register(changed, 20) == first + 1
    await harness.advance(18)
    assert await registrations.all() == {"other": changed}
    await harness.advance(4)
    assert await registrations.all() == {}


@on_registrations
async def test_registering_again_after_the_time_was_over(registrations: Registrations, harness: SqliteHarness) -> None:
    await registrations.register(OTHER, 5)
    await harness.advance(7)
    await registrations.register(OTHER, 5)
    assert await registrations.all() == {"other": OTHER}


@on_registrations
async def test_deregister(registrations: Registrations, harness: SqliteHarness) -> None:
    revision = await registrations.register(OTHER, 5)
    assert await registrations.deregister("other") == revision + 1
    assert await registrations.deregister("other") is None
    assert await registrations.all() == {}


@on_registrations
async def test_registrations_outlive_a_restart_with_their_full_time(registrations: Registrations, harness: SqliteHarness) -> None:
    await registrations.register(REVIEWS, 10)
    await harness.advance(9)
    await harness.reopen()
    again = Registrations(LeasedValues(harness.store, "registrations/"))
    await harness.advance(9)
    assert await again.all() == {"reviews/1": REVIEWS}
    await again.register(REVIEWS, 10)
    await harness.advance(9)
    assert await again.all() == {"reviews/1": REVIEWS}
    await harness.advance(3)
    assert await again.all() == {}


@on_registrations
async def test_a_watch_tells_everything_after_each_change(registrations: Registrations, harness: SqliteHarness) -> None:
    watch = aiter(registrations.watch())
    assert await anext(watch) == (0, {})
    first = await registrations.register(REVIEWS, 5)
    assert await anext(watch) == (first, {"reviews/1": REVIEWS})
    second = await registrations.register(OTHER, 50)
    revision, found = await anext(watch)
    assert (revision, dict(found)) == (second, {"reviews/1": REVIEWS, "other": OTHER})
    kept = found["other"]
    await harness.advance(7)
    revision, found = await anext(watch)
    assert (revision, dict(found)) == (second + 1, {"other": OTHER})
    assert found["other"] is kept, "what did not change is the same object"
