"""What filters do to a request and to its answer, in the words of routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from tulle.model.routing import Compare, Cors, HeaderOps, Redirect, StringMatch
from tulle.resources.gatewayapi import filters as spec
from tulle.resources.gatewayapi.filters import Header, HeaderModifier, PathModifier, PathModifierType, RequestRedirect, UrlRewrite

_DEFAULT_PORTS = {"http": 80, "https": 443}
PathRewrite = tuple[str | None, tuple[str, str] | None]
"""What takes the place of the prefix that matched, or a pattern and a substitution for the path."""
AS_IS: PathRewrite = (None, None)


def header_ops(modifiers: Iterable[HeaderModifier | None]) -> HeaderOps:
    """Values are text, never one of the data plane's variables. The host is no header."""
    given = [m for m in modifiers if m]
    return HeaderOps(
        remove=tuple(dict.fromkeys(name.lower() for m in given for name in m.remove)),
        set=_values(h for m in given for h in m.set),
        add=_values(h for m in given for h in m.add),
    )


def _values(headers: Iterable[Header]) -> tuple[tuple[str, str], ...]:
    """Of names that differ only in case, the first counts."""
    first: dict[str, str] = {}
    for header in headers:
        first.setdefault(header.name.lower(), _text(header.value))
    return tuple(pair for pair in first.items() if pair[0] != "host")


def _text(value: str) -> str:
    return value.replace("%", "%%")


def host_of(modifier: HeaderModifier | None) -> str | None:
    """The host that a modifier of the request's headers sets."""
    headers = (*modifier.set, *modifier.add) if modifier else ()
    return next((h.value for h in headers if h.name.lower() == "host"), None)


def path_rewrite(modifier: PathModifier | None, prefix: str) -> PathRewrite:
    """`prefix` is what the path must begin with for the rule to hold; whole segments of it are replaced."""
    if modifier is None:
        return AS_IS
    if modifier.type is PathModifierType.REPLACE_FULL_PATH:
        return None, ("^/.*", _substitution(modifier.replace_full_path or "/"))
    old, new = prefix.rstrip("/"), (modifier.replace_prefix_match or "").rstrip("/")
    if new and old:
        return new, None
    if old:
        return None, (f"^{re.escape(old)}/?", "/")
    return (f"{new}/", None) if new else AS_IS


def _substitution(text: str) -> str:
    return text.replace("\\", "\\\\")


def redirect(rule: RequestRedirect, prefix: str, *, scheme: str, port: int) -> Redirect:
    """`scheme` and `port` are those that the listener serves, which clients use."""
    path = rule.path
    whole = path.replace_full_path if path and path.type is PathModifierType.REPLACE_FULL_PATH else None
    before, pattern = path_rewrite(path, prefix) if path and whole is None else AS_IS
    return Redirect(
        status=rule.status_code,
        scheme=rule.scheme.value if rule.scheme else None,
        host=rule.hostname,
        port=_redirect_port(rule, scheme, port),
        path=whole,
        prefix_rewrite=before,
        regex_rewrite=pattern,
    )


def _redirect_port(rule: RequestRedirect, scheme: str, port: int) -> int | None:
    """A port that goes without saying is left out, where the request cannot have brought another one."""
    target = rule.scheme.value if rule.scheme else scheme
    wanted = rule.port or (_DEFAULT_PORTS[target] if rule.scheme else port)
    clean = rule.hostname is not None or port == _DEFAULT_PORTS.get(scheme)
    return None if wanted == _DEFAULT_PORTS[target] and clean else wanted


def rewritten_host(rule: UrlRewrite | None) -> str | None:
    return rule.hostname if rule else None


def cors(rule: spec.Cors | None) -> Cors | None:
    """Preflights from origins that are not allowed go to the backend, and get no leave from here.

    A lone `*` among methods or headers is told as what was asked for, which browsers take with credentials, too.
    """
    if rule is None:
        return None
    return Cors(
        allow_origins=tuple(_origin(origin) for origin in rule.allow_origins),
        allow_methods=rule.allow_methods,
        allow_headers=rule.allow_headers,
        expose_headers=tuple(h for h in rule.expose_headers if h != "*" or not rule.allow_credentials),
        max_age=timedelta(seconds=rule.max_age),
        allow_credentials=True if rule.allow_credentials else None,
        forward_unmatched_preflights=True,
    )


def _origin(origin: str) -> StringMatch:
    """`*` stands for any number of labels."""
    if "*" not in origin:
        return StringMatch(compare=Compare.EXACT, value=origin)
    if origin == "*":
        return StringMatch(compare=Compare.REGEX, value=".*")
    before, _, after = origin.partition("*")
    return StringMatch(compare=Compare.REGEX, value=f"{re.escape(before)}[^/:]+{re.escape(after)}")
