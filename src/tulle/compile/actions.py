"""What a VirtualService's HTTP rule does to a request, in the words of routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tulle.compile.match import text
from tulle.model.routing import Abort, Cors, Delay, DirectResponse, Fault, HeaderOps, Redirect, RetryPolicy
from tulle.resources.networking import http_actions as spec
from tulle.resources.networking.http_actions import GRPC_STATUS

RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
"""Istio's default conditions; the list of status codes that goes with them is empty (BEHAVIOURS 1)."""
DEFAULT_RETRY = RetryPolicy(attempts=2, retry_on=RETRY_ON)
INBOUND_RETRY = RetryPolicy(attempts=2, retry_on=("reset-before-request",))
_HOST = frozenset({"host", ":authority"})
_PREFIX = "%PREFIX()%"


def retry_policy(retries: spec.Retry | None, *, hashed: bool) -> RetryPolicy | None:
    """`hashed`: the destination's endpoint is picked by a hash, so that another host would be the wrong one."""
    if retries is None:
        return RetryPolicy(attempts=2, retry_on=RETRY_ON, other_hosts=False) if hashed else DEFAULT_RETRY
    if retries.attempts <= 0:
        return None
    names, codes = _conditions(retries.retry_on or "")
    avoid = retries.retry_ignore_previous_hosts
    return RetryPolicy(
        attempts=retries.attempts,
        retry_on=names or RETRY_ON,
        retriable_status_codes=codes,
        per_try_timeout=retries.per_try_timeout,
        other_hosts=not hashed if avoid is None else avoid,
        retry_remote_localities=bool(retries.retry_remote_localities),
        backoff=retries.backoff,
    )


def _conditions(retry_on: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Numbers among the conditions are status codes."""
    words = [word.strip() for word in retry_on.split(",") if word.strip()]
    codes = tuple(dict.fromkeys(int(word) for word in words if word.isdecimal()))
    names = dict.fromkeys(word for word in words if not word.isdecimal())
    if codes:
        names.setdefault("retriable-status-codes")
    return tuple(names), codes


def redirect(rule: spec.Redirect, port: int, *, encrypted: bool = False) -> Redirect:
    """`port` is the one that the request came to. `encrypted`: over TLS that was ended here."""
    old_style = (rule.uri or "").startswith(_PREFIX)
    prefix = (rule.uri or "").removeprefix(_PREFIX) if old_style else rule.prefix_rewrite
    return Redirect(
        status=rule.redirect_code or 301,
        host=rule.authority or None,
        path=None if old_style else rule.uri or None,
        prefix_rewrite=prefix or None,
        scheme=rule.scheme or None,
        port=_redirect_port(rule, port, encrypted=encrypted),
    )


def _redirect_port(rule: spec.Redirect, port: int, *, encrypted: bool) -> int | None:
    if rule.derive_port is spec.DerivePort.FROM_REQUEST_PORT:
        return port
    if rule.derive_port is spec.DerivePort.FROM_PROTOCOL_DEFAULT:
        return 443 if rule.scheme == "https" or (encrypted and not rule.scheme) else 80
    return rule.port


def direct_response(rule: spec.DirectResponse) -> DirectResponse:
    return DirectResponse(status=rule.status, body=rule.body.content() if rule.body else b"")


def fault(rule: spec.Fault | None) -> Fault | None:
    """A percentage that is not set is 0 %: no fault (BEHAVIOURS 12)."""
    delay = _delay(rule.delay) if rule else None
    abort = _abort(rule.abort) if rule else None
    return Fault(delay=delay, abort=abort) if delay or abort else None


def _delay(rule: spec.Delay | None) -> Delay | None:
    if rule is None or not rule.percentage or rule.fixed_delay is None:
        return None
    return Delay(duration=rule.fixed_delay, percent=rule.percentage)


def _abort(rule: spec.Abort | None) -> Abort | None:
    if rule is None or not rule.percentage:
        return None
    if rule.http_status is not None:
        return Abort(percent=rule.percentage, http_status=rule.http_status)
    return Abort(percent=rule.percentage, grpc_status=GRPC_STATUS.index(rule.grpc_status)) if rule.grpc_status in GRPC_STATUS else None


def cors(rule: spec.CorsPolicy | None) -> Cors | None:
    if rule is None:
        return None
    return Cors(
        allow_origins=tuple(match for origin in rule.allow_origins if (match := text(origin))),
        allow_methods=rule.allow_methods,
        allow_headers=rule.allow_headers,
        expose_headers=rule.expose_headers,
        max_age=rule.max_age,
        allow_credentials=rule.allow_credentials,
        forward_unmatched_preflights=rule.unmatched_preflights is not spec.UnmatchedPreflights.IGNORE,
    )


def header_ops(*operations: spec.HeaderOperations | None) -> HeaderOps:
    """Several sets of operations as one; what comes later is done after what came before."""
    remove: list[str] = []
    put: list[tuple[str, str]] = []
    add: list[tuple[str, str]] = []
    for operation in operations:
        if operation is None:
            continue
        replaced = {name.lower() for name in operation.set}
        add = [(name, value) for name, value in add if name not in replaced]
        remove += sorted(name.lower() for name in operation.remove)
        put += _pairs(operation.set)
        add += _pairs(operation.add)
    return HeaderOps(remove=tuple(dict.fromkeys(remove)), set=tuple(put), add=tuple(add))


def _pairs(values: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Pseudo headers are not headers: the host has its own place, the others cannot be set."""
    lowered = ((name.lower(), value) for name, value in values.items())
    return sorted((name, value) for name, value in lowered if name not in _HOST and not name.startswith(":"))


def host_rewrite(operations: spec.HeaderOperations | None) -> str | None:
    """The host that header operations set, if they do."""
    if operations is None:
        return None
    values = {name.lower(): value for group in (operations.add, operations.set) for name, value in group.items()}
    return values.get(":authority") or values.get("host") or None
