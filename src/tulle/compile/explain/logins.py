"""What a request shows of who calls, where keys and passwords are asked for. None of them is ever told."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote

from tulle.compile.explain.match import compare, parameters
from tulle.compile.explain.paths import split_query
from tulle.compile.explain.request import Seen
from tulle.compile.explain.trace import Answer, Step, place, quote
from tulle.model.logins import ApiKeys, KeyPlace, Login, Passwords, SignIn
from tulle.model.routing import HeaderMatch

_FAILED = "Client authentication failed."
_WRONG = "User authentication failed. Invalid username/password combination."


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The request as it goes on; `refused` where the proxy answers instead."""

    seen: Seen
    steps: tuple[Step, ...] = ()
    refused: Answer | None = None


def admitted(asked: tuple[Login, ...], seen: Seen) -> Admitted:
    """What becomes of a request where callers must show who they are. All that is asked must be shown."""
    steps: list[Step] = []
    meant = tuple(login for login in asked if not login.hosts or any(compare(h, seen.authority) for h in login.hosts))
    told = {login.told_by for login in meant}
    seen = replace(seen, headers=tuple((name, value) for name, value in seen.headers if name not in told))
    for login in meant:
        if _excluded(login, seen):
            steps.append(_step(login, False, f"{quote(split_query(seen.path)[0])} is among its excludedPaths"))
            continue
        if isinstance(login.by, SignIn):
            step, away = _signed_in(login, login.by, seen)
            steps.append(step)
            if away:
                return Admitted(seen=seen, steps=tuple(steps), refused=away)
            continue
        who, refusal = _client(login.by, seen) if isinstance(login.by, ApiKeys) else _user(login.by, seen)
        if refusal:
            steps.append(_step(login, False, refusal))
            return Admitted(seen=seen, steps=tuple(steps), refused=Answer(status=401, body=refusal))
        steps.append(_step(login, True, f"the caller is {quote(who)}"))
        seen = _handed_on(login, who, seen)
    return Admitted(seen=seen, steps=tuple(steps))


def _excluded(login: Login, seen: Seen) -> bool:
    return any(compare(path, seen.path) for path in login.excluded) and not any(compare(path, seen.path) for path in login.never_excluded)


def _step(login: Login, matched: bool, why: str) -> Step:
    return Step(rule=f"Authentication/{login.name.partition('/')[2]}", source=place(login.source), matched=matched, why=why)


def _signed_in(login: Login, by: SignIn, seen: Seen) -> tuple[Step, Answer | None]:
    """Cookies are taken to be good, as signatures of tokens are."""
    bare = split_query(seen.path)[0]
    if bare == by.logout_path:
        return _step(login, True, "it is the logoutPath: the caller is signed out"), Answer(status=302)
    if bare == by.redirect_path:
        return _step(login, True, "it is the redirectPath, where the provider sends people back"), Answer(status=302)
    cookies = {part.strip().partition("=")[0] for value in seen.values("cookie") for part in value.split(";")}
    if by.cookies.session in cookies:
        return _step(login, True, f"the caller is signed in, if the cookie {by.cookies.session} is good"), None
    if any(_has(header, seen) for header in by.scripts):
        return _step(login, False, "the caller is not signed in, and denyRedirect has one of its headers"), Answer(status=401)
    return _step(login, False, f"the caller is not signed in, and sent to {by.provider.authorization_endpoint}"), Answer(status=302)


def _has(header: HeaderMatch, seen: Seen) -> bool:
    return any(header.match is None or compare(header.match, value) for value in seen.values(header.name))


def _client(by: ApiKeys, seen: Seen) -> tuple[str, str]:
    shown = next((key for where in by.places for key in _keys(where, seen)), "")
    who = next((name for name, key in by.clients if shown and key.reveal() == shown.encode()), "")
    return (who, "") if who else ("", _FAILED)


def _keys(where: KeyPlace, seen: Seen) -> Iterator[str]:
    if where.header:
        yield from (value.removeprefix("Bearer ") for value in seen.values(where.header)[:1] if value)
    elif where.query:
        given = {unquote(name): unquote(value) for name, value in parameters(split_query(seen.path)[1]).items()}
        yield from filter(None, (given.get(where.query),))
    else:
        cookies = (part.strip().partition("=") for value in seen.values("cookie") for part in value.split(";"))
        yield from (value for name, _, value in cookies if name == where.cookie and value)


def _user(by: Passwords, seen: Seen) -> tuple[str, str]:
    shown = next(iter(seen.values("authorization")), "")
    if not shown:
        return "", "User authentication failed. Missing username and password."
    if not shown.startswith("Basic "):
        return "", "User authentication failed. Expected 'Basic' authentication scheme."
    name, colon, password = _decoded(shown.removeprefix("Basic ")).partition(b":")
    if not colon:
        return "", "User authentication failed. Invalid basic credential format."
    hashed = base64.b64encode(hashlib.sha1(password, usedforsecurity=False).digest())
    known = any(user.encode() == name and secret.reveal() == hashed for user, secret in by.users)
    return (name.decode(), "") if known else ("", _WRONG)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _handed_on(login: Login, who: str, seen: Seen) -> Seen:
    """What policies and routes see of it."""
    gone = set[str]()
    if not login.forward:
        gone = {p.header for p in login.by.places} if isinstance(login.by, ApiKeys) else {"authorization"}
    kept = tuple((name, value) for name, value in seen.headers if name not in gone)
    return replace(seen, headers=(*kept, *(((login.told_by, who),) if login.told_by else ())))
