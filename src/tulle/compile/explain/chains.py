"""Which filter chain of a listener takes a connection.

Envoy asks for one thing after the other, keeps the chains that fit it best, and never goes back: destination address (the longest prefix),
server name (exact, the longest `*.suffix`, any), transport protocol, ALPN (in the caller's order, any), source address (as destination).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from tulle.compile.explain.trace import Step, place, quote
from tulle.model.proxy import FilterChain, Listener

ONE_BY_ONE = 4
NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What can be told of a connection before its first request."""

    tls: bool = False
    sni: str = ""
    """The name asked for in TLS, in lower case; empty where none is."""
    alpn: tuple[str, ...] = ()
    """Offered by the caller, from the most wanted."""
    destination: str = "127.0.0.1"
    source: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """None: no chain takes the connection, which is closed."""

    chain: FilterChain | None
    steps: tuple[Step, ...] = ()


_Rank = tuple[int, str] | None
"""How well a chain fits, and by which of its values; None where it does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    rank: Callable[[FilterChain, Connection], _Rank]
    unfit: Callable[[FilterChain, Connection], str]


def choose(listener: Listener, connection: Connection) -> Chosen:
    """The chain that takes a connection, and why the others lost. A lone chain that takes everything makes no steps."""
    left = list(listener.chains)
    steps: list[Step] = []
    won: list[str] = []
    for stage in _STAGES:
        ranked = [(chain, stage.rank(chain, connection)) for chain in left]
        best = max((rank for _, rank in ranked if rank), default=None)
        unfit = [chain for chain, rank in ranked if rank is None]
        steps += _unfit(unfit, stage, connection)
        if best is None:
            return Chosen(chain=None, steps=(*steps, _closed(listener)))
        steps += [_step(c, False, f"{_what(r[1])} fits, but {quote(best[1])} is more specific") for c, r in ranked if r and r < best]
        left = [chain for chain, rank in ranked if rank == best]
        won += [best[1]] if best[1] else []
    chain = left[0]
    if len(listener.chains) > 1 or won:
        steps.append(_step(chain, True, _won(won)))
    return Chosen(chain=chain, steps=tuple(steps))


def _won(values: list[str]) -> str:
    return f"it takes {', '.join(map(quote, values))}" if values else "it takes what no other chain does"


def _what(value: str) -> str:
    return quote(value) if value else "it takes everything and so"


def _closed(listener: Listener) -> Step:
    return Step(rule=f"listener {listener.name}", matched=False, why="no filter chain takes the connection: it is closed")


def _step(chain: FilterChain, matched: bool, why: str) -> Step:
    return Step(rule=f"filter chain {chain.name}", source=place(chain.source), matched=matched, why=why)


def _unfit(chains: list[FilterChain], stage: _Stage, connection: Connection) -> list[Step]:
    """A few are told one by one, more in one step."""
    if len(chains) <= ONE_BY_ONE:
        return [_step(chain, False, stage.unfit(chain, connection)) for chain in chains]
    names = ", ".join(c.name for c in chains[:NAMED]) + (f" and {len(chains) - NAMED} more" if len(chains) > NAMED else "")
    why = f"none of them fits; of the first, {stage.unfit(chains[0], connection)}: {names}"
    return [Step(rule=f"{len(chains)} other filter chains", matched=False, why=why)]


def _address(cidrs: Iterable[str], address: str) -> _Rank:
    """The longest prefix that an address lies in."""
    cidrs = tuple(cidrs)
    if not cidrs:
        return 0, ""
    at = ip_address(address)
    found = [(n.prefixlen + 1, str(n)) for n in (ip_network(text, strict=False) for text in cidrs) if at.version == n.version and at in n]
    return max(found, default=None)


def _destination(chain: FilterChain, connection: Connection) -> _Rank:
    return _address(chain.destination_cidrs, connection.destination)


def _source(chain: FilterChain, connection: Connection) -> _Rank:
    return _address(chain.source_cidrs, connection.source)


def _server_name(chain: FilterChain, connection: Connection) -> _Rank:
    """A wildcard stands for one label or more."""
    if not chain.server_names:
        return 0, ""
    sni = connection.sni
    exact = [(len(sni) + 1000, name) for name in chain.server_names if sni and name == sni]
    wild = [(len(n), n) for n in chain.server_names if n.startswith("*.") and sni.endswith(n[1:]) and len(sni) > len(n) - 1]
    return max((*exact, *wild), default=None)


def _transport(chain: FilterChain, connection: Connection) -> _Rank:
    spoken = "tls" if connection.tls else "raw_buffer"
    if chain.transport_protocol in ("", spoken):
        return int(bool(chain.transport_protocol)), chain.transport_protocol
    return None


def _protocol(chain: FilterChain, connection: Connection) -> _Rank:
    """The first of the caller's protocols that a chain names wins."""
    if not chain.application_protocols:
        return 0, ""
    count = len(connection.alpn)
    return max(((count - n, name) for n, name in enumerate(connection.alpn) if name in chain.application_protocols), default=None)


def _list(values: tuple[str, ...]) -> str:
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(map(quote, values[:3])) + more


def _no_name(chain: FilterChain, connection: Connection) -> str:
    asked = (
        f"{quote(connection.sni)} is"
        if connection.sni
        else "no server name is"
        if connection.tls
        else "the connection is plain: no name is"
    )
    return f"{asked} asked for, it takes {_list(chain.server_names)}"


def _no_transport(chain: FilterChain, connection: Connection) -> str:
    return f"it takes {chain.transport_protocol}, the connection is {'TLS' if connection.tls else 'plain'}"


def _no_protocol(chain: FilterChain, connection: Connection) -> str:
    offered = f"ALPN offers {_list(connection.alpn)}" if connection.alpn else "ALPN offers nothing"
    return f"{offered}, it takes {_list(chain.application_protocols)}"


_STAGES = (
    _Stage(rank=_destination, unfit=lambda chain, c: f"{c.destination} is dialled, it takes {_list(chain.destination_cidrs)}"),
    _Stage(rank=_server_name, unfit=_no_name),
    _Stage(rank=_transport, unfit=_no_transport),
    _Stage(rank=_protocol, unfit=_no_protocol),
    _Stage(rank=_source, unfit=lambda chain, c: f"the caller is {c.source}, it takes {_list(chain.source_cidrs)}"),
)
