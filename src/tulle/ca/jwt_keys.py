"""Who signs JSON Web Tokens for the mesh: its keys in one file beside the authority's, and tokens for workloads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from tulle import private_file
from tulle.ca import jwt, names
from tulle.ca.clock import utc
from tulle.ca.files import AuthorityError
from tulle.ca.jwt import Keys, SigningKey, Turn
from tulle.ca.keys import dump_key, load_key, new_key
from tulle.logs import Log
from tulle.model.identity import CONTROL_NAMESPACE, Identity
from tulle.model.tls import Hidden

LONGEST_SLEEP = 60.0
"""Seconds: clocks jump, machines sleep."""
_log = Log("ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    identity: Identity
    token: Hidden
    key: str
    """The id of the key that signed it."""
    audiences: tuple[str, ...]
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """What may be told of a key."""

    id: str
    turn: Turn
    signs_from: datetime


class JwtKeys:
    """Used from one event loop only. Raises AuthorityError for a file that cannot be used, OSError for folders."""

    def __init__(self, path: Path, issuer: str, trust_domain: str, *, now: Callable[[], datetime] = utc) -> None:
        self.issuer, self.trust_domain = issuer, trust_domain
        self._path, self._now = path, now
        self._changed = asyncio.Event()
        self._keys: Keys = _read(path) if path.exists() else self._kept((SigningKey(key=new_key(), signs_from=self._now()),))
        self._tend_if_possible()

    def issue(self, identity: Identity, audiences: Iterable[str], *, lifetime: timedelta = jwt.USUAL) -> IssuedToken:
        """A token for whoever these audiences are. Whether the caller may have this identity is for the caller to know.

        Raises ValueError for names that could be read as others, for no audience, and for a lifetime out of bounds.
        """
        names.check(identity)
        if identity.namespace == CONTROL_NAMESPACE:
            raise ValueError(f"{CONTROL_NAMESPACE} is the control plane's own namespace: nobody else is of it")
        for_whom = tuple(dict.fromkeys(audiences))
        if not all(for_whom) or not for_whom:
            raise ValueError("a token is for somebody: name an audience")
        if not jwt.SHORTEST <= lifetime <= jwt.LONGEST:
            raise ValueError(f"a token holds between {jwt.SHORTEST.seconds} s and {jwt.LONGEST.seconds // 60} min")
        by, now = jwt.signing(self._keys, self._now()), self._now().replace(microsecond=0)
        claims = {
            "iss": self.issuer,
            "sub": identity.uri(),
            "aud": list(for_whom),
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        token = Hidden(jwt.signed(claims, by).encode())
        return IssuedToken(identity=identity, token=token, key=by.id, audiences=for_whom, not_after=now + lifetime)

    def key_set(self, use: str = "sig") -> list[dict[str, str]]:
        """All that are published, as JSON Web Keys."""
        return jwt.key_set(self._keys, use)

    def document(self) -> str:
        """The same as a set of keys (RFC 7517, section 5), always alike while no key changes."""
        return json.dumps({"keys": self.key_set()}, separators=(",", ":"), sort_keys=True)

    def told(self) -> Iterator[PublicKey]:
        now = self._now()
        return (PublicKey(id=key.id, turn=jwt.turn(key, self._keys, now), signs_from=key.signs_from) for key in self._keys)

    # Turns

    def tend(self) -> None:
        """Publishes the next key when it is time, and drops those that no token needs any more."""
        now = self._now()
        keys = jwt.kept(self._keys, now)
        if (begins := jwt.next_turn(keys, now)) is not None:
            keys = (*keys, SigningKey(key=new_key(), signs_from=begins))
        self._take(keys)

    def rotate(self, after: timedelta) -> None:
        """Publishes a new key, which signs after that time. Raises AuthorityError where one waits for its turn already."""
        now = self._now()
        if self._keys[-1].signs_from > now:
            raise AuthorityError(f"the next key is published already, and signs from {self._keys[-1].signs_from:%Y-%m-%dT%H:%M:%SZ}")
        self._take((*self._keys, SigningKey(key=new_key(), signs_from=now + after)))

    def revoke(self, key_id: str) -> None:
        """No token that this key has signed is good any more, as soon as those who verify know. Raises LookupError."""
        now = self._now()
        left = [key for key in self._keys if key.id != key_id]
        if len(left) == len(self._keys):
            raise LookupError(f"there is no key {key_id!r}")
        if jwt.signing(self._keys, now).id == key_id:
            # The next one is known to everybody already, where there is one.
            following = next((key for key in left if key.signs_from > now), SigningKey(key=new_key(), signs_from=now))
            left = [*(key for key in left if key.signs_from < now), replace(following, signs_from=now)]
        self._take(tuple(left))
        _log.warning("a key for JSON Web Tokens was revoked: what it signed is refused from now on", key=key_id)

    async def run(self, changed: Callable[[str], None]) -> None:
        """Keeps the turns, and tells `changed` of every other document."""
        told = self.document()
        while True:
            self._changed.clear()
            self._tend_if_possible()
            if (document := self.document()) != told:
                told = document
                changed(told)
            wait = (jwt.next_change(self._keys) - self._now()).total_seconds()
            try:
                async with asyncio.timeout(min(max(wait, 1.0), LONGEST_SLEEP)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _tend_if_possible(self) -> None:
        try:
            self.tend()
        except OSError as error:
            _log.warning("the keys for JSON Web Tokens cannot be written; those that are there go on", error=str(error))

    def _take(self, keys: Keys) -> None:
        if keys != self._keys:
            self._keys = self._kept(keys)
            self._changed.set()

    def _kept(self, keys: Keys) -> Keys:
        private_file.write(self._path, _text(keys))
        return keys


def _read(path: Path) -> Keys:
    if not private_file.is_private(path):
        raise AuthorityError(f"{path}: can be read by others; chmod 600 it")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = tuple(SigningKey(key=_ecdsa(one["key"]), signs_from=datetime.fromisoformat(one["signsFrom"])) for one in said)
        return tuple(sorted(keys, key=lambda key: key.signs_from)) or _none(path)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _none(path)


def _none(path: Path) -> Keys:
    raise AuthorityError(f"{path}: holds no keys that can be read; delete it, and new ones are made at the next start")


def _ecdsa(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("is not a key on P-256")  # noqa: TRY004 - what a file holds is a value
    return key


def _text(keys: Keys) -> str:
    return json.dumps({"keys": [{"signsFrom": key.signs_from.isoformat(), "key": dump_key(key.key).reveal().decode()} for key in keys]})
