"""Rules by address, first match first, as proxies want them: they take the longest prefix of the destination, then of the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one alternative of a rule asks of addresses. Empty: any will do."""

    destinations: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What the alternative of this number gets."""

    number: int = 0
    destinations: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        """Tells the cells of one port apart, as the end of a name; empty for that of all other connections."""
        ends = ((">", ",".join(self.destinations)), ("<", self.source))
        return "".join(mark + text for mark, text in ends if text)


def lies_in(address: str, subnets: Iterable[str]) -> bool:
    """Whether an address, or all of a network, lies in one of the subnets."""
    return any(_within(address, subnet) for subnet in subnets)


def cells(alternatives: Sequence[Asked]) -> Iterator[Cell]:
    """Who gets the connections between each pair of subnets that is spoken of; pairs that nobody asks for are left out.

    A proxy that has taken the longest prefix never goes back to a shorter one. So each pair is told apart, though an earlier alternative
    may have both.
    """
    destinations = dict.fromkeys(("", *(d for a in alternatives for d in a.destinations)))
    for source in dict.fromkeys(("", *(a.source for a in alternatives))):
        taken: dict[int, list[str]] = {}
        for destination in destinations:
            number = next((n for n, a in enumerate(alternatives) if _asks(a, destination, source)), None)
            if number is not None:
                taken.setdefault(number, []).append(destination)
        for number, found in taken.items():
            named = tuple(d for d in found if d)
            if named:
                yield Cell(number=number, destinations=named, source=source)
            if "" in found:
                yield Cell(number=number, destinations=(), source=source)


def _asks(alternative: Asked, destination: str, source: str) -> bool:
    fits = not alternative.destinations or (destination != "" and lies_in(destination, alternative.destinations))
    return fits and (not alternative.source or (source != "" and _within(source, alternative.source)))


def _within(inner: str, outer: str) -> bool:
    one, other = _network(inner), _network(outer)
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.subnet_of(other)
    return isinstance(other, IPv6Network) and one.subnet_of(other)


def _network(text: str) -> Network:
    return ip_network(text if "/" in text else ip_address(text), strict=False)
