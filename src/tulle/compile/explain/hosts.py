"""Which virtual host takes an authority: exact first, then the longest `*.suffix`, then the longest `prefix.*`, then `*`."""

from __future__ import annotations

from dataclasses import dataclass

from tulle.compile.explain.trace import Step, place, quote
from tulle.model.resource import Source
from tulle.model.routing import RouteTable, VirtualHost

ONE_BY_ONE = 3
NAMED = 10

_SUFFIX, _PREFIX, _ANY = 2, 1, 0
_EXACT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    host: VirtualHost | None
    steps: tuple[Step, ...]


def without_port(authority: str) -> str:
    """The host of an authority. The colons of an IPv6 address in brackets are no port."""
    colon = authority.rfind(":")
    return authority[:colon] if colon > authority.rfind("]") else authority


def rank(domain: str, host: str) -> tuple[int, int] | None:
    """How well a domain fits a host in lower case, to be compared; None where it does not. A wildcard stands for one character or more."""
    domain = domain.lower()
    if domain == "*":
        return _ANY, 0
    if domain == host:
        return _EXACT, len(domain)
    if len(domain) > len(host):
        return None
    if domain.startswith("*"):
        return (_SUFFIX, len(domain)) if host.endswith(domain[1:]) else None
    return (_PREFIX, len(domain)) if domain.endswith("*") and host.startswith(domain[:-1]) else None


def find(table: RouteTable, authority: str) -> Found:
    """The virtual host of a table for an authority, and why the others lost."""
    host = (without_port(authority) if table.ignore_port_in_host else authority).lower()
    ranked = [(best, v) for v in table.virtual_hosts if (best := _best(v, host))]
    winner = max(ranked, key=lambda entry: entry[0][0], default=None)
    fitting = {id(v) for _, v in ranked}
    others = [v for v in table.virtual_hosts if id(v) not in fitting]
    steps = [*_unfit(others, authority), *(_beaten(v, domain, winner[0][1]) for (_, domain), v in ranked if winner and v is not winner[1])]
    if not winner:
        return Found(host=None, steps=tuple(steps))
    steps.append(_step(winner[1], True, _won(winner[0][0], winner[0][1], authority)))
    return Found(host=winner[1], steps=tuple(steps))


def _best(host: VirtualHost, name: str) -> tuple[tuple[int, int], str] | None:
    fits = [(fit, domain) for domain in host.domains if (fit := rank(domain, name))]
    return max(fits, key=lambda entry: entry[0], default=None)


def _won(fit: tuple[int, int], domain: str, authority: str) -> str:
    if fit[0] == _ANY:
        return f"{quote(domain)} takes every host, also {quote(authority)}"
    ported = "" if domain.lower() == authority.lower() or fit[0] != _EXACT else f" ({quote(authority)} without its port)"
    return f"{quote(domain)} {'is the host asked for' if fit[0] == _EXACT else f'fits {quote(authority)}'}{ported}"


def _unfit(hosts: list[VirtualHost], authority: str) -> list[Step]:
    """Virtual hosts that have nothing to do with the request: a few are told one by one, more in one step."""
    if len(hosts) <= ONE_BY_ONE:
        return [_step(v, False, f"none of its hosts ({_names(v)}) is {quote(authority)}") for v in hosts]
    names = ", ".join(v.name for v in hosts[:NAMED]) + (f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else "")
    return [Step(rule=f"{len(hosts)} other virtual hosts", matched=False, why=f"none of their hosts is {quote(authority)}: {names}")]


def _names(host: VirtualHost) -> str:
    more = len(host.domains) - 2
    return ", ".join(host.domains[:2]) + (f" and {more} more" if more > 0 else "")


def _beaten(host: VirtualHost, domain: str, by: str) -> Step:
    return _step(host, False, f"{quote(domain)} fits, but {quote(by)} is more specific")


def _step(host: VirtualHost, matched: bool, why: str) -> Step:
    return Step(rule=f"virtual host {host.name}", source=place(_source(host)), matched=matched, why=why)


def _source(host: VirtualHost) -> Source | None:
    return next((route.source for route in host.routes if route.source), None)
