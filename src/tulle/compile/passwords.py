"""What stands in the Secrets of Authentications: the keys of clients, and users with passwords as `htpasswd -s` writes them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from tulle.model.tls import Hidden
from tulle.resources.core_secret import Secret

Problem = str
"""Who is left out and why; never what is in the entry."""
Known = tuple[tuple[tuple[str, Hidden], ...], tuple[Problem, ...]]
"""Names, each with its secret, and what is wrong with the others."""

_NAME = re.compile(r"[-._A-Za-z0-9]+")
_SHA = "{SHA}"
_SCHEMES = (
    (re.compile(r"\$2[abxy]?\$"), "a bcrypt hash"),
    (re.compile(r"\$apr1\$"), "an MD5 hash"),
    (re.compile(r"\$[0-9a-z]+\$"), "a crypt hash"),
    (re.compile(r"\{[A-Z0-9-]+\}"), "of another scheme"),
)


def clients(secret: Secret | None) -> Known:
    """Each entry is a client and its key; spaces around a key do not count. Of clients with the same key the first by name stands."""
    found: dict[bytes, str] = {}
    problems: list[Problem] = []
    for name, value in sorted(secret.entries.items()) if secret else ():
        key = value.reveal().strip()
        if why := _no_client(name, key):
            problems.append(f"entry {name!r} is left out: {why}")
        elif key in found:
            problems.append(f"entry {name!r} is left out: it has the same key as {found[key]!r}")
        else:
            found[key] = name
    return tuple((name, Hidden(key)) for key, name in found.items()), tuple(problems)


def _no_client(name: str, key: bytes) -> str:
    if not _NAME.fullmatch(name):
        return "names of clients have letters, digits, '-', '_' and '.'"
    if not key:
        return "its key is empty"
    return "" if _sendable(key) else "its key has other characters than printable ASCII"


def users(secret: Secret | None) -> Known:
    """Each entry is a file of lines `NAME:{SHA}HASH`; empty lines and those that begin with `#` do not count."""
    found: dict[str, Hidden] = {}
    problems: list[Problem] = []
    for where, line in _lines(secret):
        name, _, hashed = line.partition(b":")
        if why := _no_user(name, hashed):
            problems.append(f"{where} is left out: {why}")
        elif name.decode() in found:
            problems.append(f"{where} is left out: user {name.decode()!r} is there already")
        else:
            found[name.decode()] = Hidden(hashed.removeprefix(_SHA.encode()))
    return tuple(found.items()), tuple(problems)


def _lines(secret: Secret | None) -> Iterator[tuple[str, bytes]]:
    for entry, value in sorted(secret.entries.items()) if secret else ():
        for number, line in enumerate(value.reveal().splitlines(), start=1):
            if (bare := line.strip()) and not bare.startswith(b"#"):
                yield f"line {number} of entry {entry!r}", bare


def _no_user(name: bytes, hashed: bytes) -> str:
    if not hashed or not name or not _sendable(name):
        return "it is not NAME:{SHA}HASH, as `htpasswd -s` writes it, with a name of printable ASCII"
    text = hashed.decode(errors="replace")
    if text.startswith(_SHA):
        return "" if _is_sha(text.removeprefix(_SHA)) else "what follows {SHA} is not the base64 of a SHA-1"
    kind = next((words for pattern, words in _SCHEMES if pattern.match(text)), "in plain text")
    return f"the password of user {name.decode()!r} is {kind}; the proxy takes {_SHA} alone, which `htpasswd -s` writes"


def _is_sha(text: str) -> bool:
    try:
        return len(text) == 28 and len(base64.b64decode(text, validate=True)) == 20
    except (binascii.Error, ValueError):
        return False


def _sendable(value: bytes) -> bool:
    """Whether it can stand in a header."""
    return value.isascii() and value.decode("ascii").isprintable()
