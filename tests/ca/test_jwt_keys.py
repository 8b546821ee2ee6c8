"""Tokens that say who a workload is: what stands in them, and keys that take turns."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from joserfc import jwk, jwt
from joserfc.errors import InvalidKeyIdError

from tulle.ca.files import AuthorityError
from tulle.ca.jwt import AHEAD, LIFE, LONGEST, SKEW, Turn
from tulle.ca.jwt_keys import JwtKeys
from tulle.model.identity import Identity

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEB = Identity(namespace="shop", service_account="web")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> JwtKeys:
    return opened(tmp_path, clock)


def opened(folder: Path, clock: Clock) -> JwtKeys:
    return JwtKeys(folder / "ca" / "jwt-keys.json", "spiffe://cluster.local", "cluster.local", now=clock)


def token(of: JwtKeys, **more: timedelta) -> str:
    return of.issue(WEB, ["bank"], **more).token.reveal().decode()


def verified(text: str, document: str) -> dict[str, object]:
    """By a library that knows nothing of Tulle."""
    return jwt.decode(text, jwk.KeySet.import_key_set(json.loads(document)), algorithms=["ES256"]).claims


def test_what_a_token_says(keys: JwtKeys) -> None:
    issued = keys.issue(WEB, ["bank", "audit", "bank"])
    assert verified(issued.token.reveal().decode(), keys.document()) == {
        "iss": "spiffe://cluster.local",
        "sub": "spiffe://cluster.local/ns/shop/sa/web",
        "aud": ["bank", "audit"],
        "iat": START.timestamp(),
        "exp": START.timestamp() + 300,
    }
    assert issued.not_after == START + timedelta(minutes=5)
    assert "eyJ" not in repr(issued)


@pytest.mark.parametrize(
    ("audiences", "lifetime", "why"),
    [
        ([], HOUR, "name an audience"),
        ([""], HOUR, "name an audience"),
        (["bank"], HOUR + timedelta(seconds=1), "between 10 s and 60 min"),
        (["bank"], timedelta(seconds=9), "between 10 s and 60 min"),
        (["bank"], timedelta(seconds=-1), "between 10 s and 60 min"),
    ],
)
def test_tokens_that_are_not_issued(keys: JwtKeys, audiences: list[str], lifetime: timedelta, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        keys.issue(WEB, audiences, lifetime=lifetime)


@pytest.mark.parametrize("name", ["", "web/sa/root", "../root", "Web", "web\n"])
def test_no_name_can_be_read_as_anothers(keys: JwtKeys, name: str) -> None:
    for identity in (Identity(namespace=name, service_account="web"), Identity(namespace="shop", service_account=name)):
        with pytest.raises(ValueError, match="is no name for an identity"):
            keys.issue(identity, ["bank"])


def test_the_file_is_for_this_user_alone_and_the_keys_outlive_a_start(tmp_path: Path, clock: Clock) -> None:
    text = token(opened(tmp_path, clock))
    path = tmp_path / "ca" / "jwt-keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert verified(text, opened(tmp_path, clock).document())
    path.chmod(0o640)
    with pytest.raises(AuthorityError, match="chmod 600"):
        opened(tmp_path, clock)
    path.chmod(0o600)
    path.write_text('{"keys": [{"signsFrom": "2026-11-21T12:00:00+00:00", "key": "the secret"}]}')
    with pytest.raises(AuthorityError, match="delete it") as error:
        opened(tmp_path, clock)
    assert "the secret" not in str(error.value)


def test_keys_take_turns_by_themselves(keys: JwtKeys, clock: Clock) -> None:
    (first,) = keys.told()
    assert first.turn is Turn.SIGNS
    clock.now = START + LIFE - AHEAD
    keys.tend()
    _, second = keys.told()
    assert (second.turn, second.signs_from) == (Turn.PUBLISHED, START + LIFE)
    assert keys.issue(WEB, ["bank"]).key == first.id
    last = keys.issue(WEB, ["bank"], lifetime=LONGEST)
    clock.now = START + LIFE
    keys.tend()
    assert [key.turn for key in keys.told()] == [Turn.RETIRED, Turn.SIGNS]
    assert keys.issue(WEB, ["bank"]).key == second.id
    assert verified(last.token.reveal().decode(), keys.document())
    clock.now = START + LIFE + LONGEST + SKEW
    keys.tend()
    assert [key.id for key in keys.told()] == [second.id]


def test_after_a_long_absence_the_next_key_is_still_published_before_it_signs(tmp_path: Path, clock: Clock) -> None:
    opened(tmp_path, clock)
    clock.now = START + 100 * DAY
    old, new = opened(tmp_path, clock).told()
    assert (old.turn, new.turn, new.signs_from) == (Turn.SIGNS, Turn.PUBLISHED, clock.now + AHEAD)


def test_a_disk_that_is_full_ends_nothing(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that is there goes on, and the next is made as soon as it can be kept."""
    first = opened(tmp_path, clock)
    clock.now = START + LIFE

    def full(_path: Path, _text: str) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tulle.private_file.write", full)
        again = opened(tmp_path, clock)
        assert [key.id for key in again.told()] == [key.id for key in first.told()]
        assert verified(token(again), first.document())
    again.tend()
    assert [key.turn for key in again.told()] == [Turn.SIGNS, Turn.PUBLISHED]


def test_a_rotation_by_hand(keys: JwtKeys, clock: Clock) -> None:
    keys.rotate(HOUR)
    with pytest.raises(AuthorityError, match="published already"):
        keys.rotate(HOUR)
    old, new = keys.told()
    clock.now += HOUR
    assert keys.issue(WEB, ["bank"]).key == new.id != old.id


def test_what_a_revoked_key_signed_is_good_for_nothing(keys: JwtKeys, clock: Clock) -> None:
    stolen = token(keys)
    (first,) = keys.told()
    keys.revoke(first.id)
    with pytest.raises(InvalidKeyIdError):
        verified(stolen, keys.document())
    assert verified(token(keys), keys.document())
    keys.rotate(HOUR)
    signs, following = keys.told()
    keys.revoke(signs.id)
    assert [(key.id, key.turn) for key in keys.told()] == [(following.id, Turn.SIGNS)], "everybody knows that one already"
    with pytest.raises(LookupError, match="no key"):
        keys.revoke(first.id)


@given(some.lists(some.one_of(some.timedeltas(timedelta(), LIFE * 3), some.sampled_from(["rotate", "revoke"])), max_size=6))
@settings(max_examples=25)
def test_whatever_happens_a_token_is_signed_with_a_key_that_was_known_and_stays_known(
    tmp_path_factory: pytest.TempPathFactory, events: list[timedelta | str]
) -> None:
    """But for keys that are revoked, and for those who look less often than once in AHEAD."""
    clock = Clock()
    keys = opened(tmp_path_factory.mktemp("keys"), clock)
    for event in events:
        if isinstance(event, timedelta):
            # The clock goes on by days on which the keys are looked after twice.
            for _ in range(1 + event // DAY):
                known, issued = {key.id for key in keys.told()}, keys.issue(WEB, ["bank"], lifetime=LONGEST)
                clock.now += LONGEST
                keys.tend()
                assert issued.key in {key.id for key in keys.told()}, "it holds, so its key is still there"
                clock.now += AHEAD - LONGEST
                keys.tend()
                assert keys.issue(WEB, ["bank"]).key in known, "who knew the keys a day before knows this one"
        elif event == "rotate" and all(key.turn is not Turn.PUBLISHED for key in keys.told()):
            keys.rotate(AHEAD)
        elif event == "revoke":
            keys.revoke(next(key.id for key in keys.told() if key.turn is Turn.SIGNS))
        assert [key.turn for key in keys.told()].count(Turn.SIGNS) == 1
