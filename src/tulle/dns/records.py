"""Records, as the DNS writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import dns.name
import dns.rdataclass
import dns.rdatatype
from dns.exception import DNSException
from dns.name import Name
from dns.rdata import Rdata
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV
from dns.rrset import RRset

from tulle.dns.question import IpAddress

IN = dns.rdataclass.IN
_TXT_PART = 255
"""Bytes in one string of a TXT record (RFC 1035, 3.3.14)."""


@dataclass(frozen=True, slots=True)
class Record:
    name: Name
    ttl: int
    data: Rdata

    @property
    def type(self) -> RdataType:
        found: RdataType = self.data.rdtype
        return found

    def rrset(self) -> RRset:
        """A set of its own, so that order and number are ours to choose."""
        found = RRset(self.name, IN, self.data.rdtype)
        found.update_ttl(self.ttl)
        found.items = {self.data: None}
        return found


def _data(kind: Callable[..., Rdata], type_: RdataType, *values: object) -> Rdata:
    return kind(IN, type_, *values)


@lru_cache(maxsize=65536)
def name(text: str) -> Name | None:
    """An absolute name; None where the text cannot be one."""
    try:
        return dns.name.from_text(text.rstrip(".") + ".")
    except (DNSException, UnicodeError, ValueError):
        return None


@lru_cache(maxsize=65536)
def address(ip: IpAddress) -> Rdata:
    return _data(A, dns.rdatatype.A, str(ip)) if ip.version == 4 else _data(AAAA, dns.rdatatype.AAAA, str(ip))


def cname(target: Name) -> Rdata:
    return _data(CNAME, dns.rdatatype.CNAME, target)


def srv(weight: int, port: int, target: Name) -> Rdata:
    """All of one priority."""
    return _data(SRV, dns.rdatatype.SRV, 1, max(0, min(weight, 65535)), port, target)


def ptr(target: Name) -> Rdata:
    return _data(PTR, dns.rdatatype.PTR, target)


def ns(target: Name) -> Rdata:
    return _data(NS, dns.rdatatype.NS, target)


def soa(server: Name, mailbox: Name, serial: int, minimum: int) -> Rdata:
    """Refresh after an hour, retry after ten minutes, expire after a day."""
    return _data(SOA, dns.rdatatype.SOA, server, mailbox, serial % 2**32, 3600, 600, 86400, minimum)


def txt(text: str) -> Rdata:
    """Long text in several strings."""
    data = text.encode()
    return _data(TXT, dns.rdatatype.TXT, [data[i : i + _TXT_PART] for i in range(0, max(len(data), 1), _TXT_PART)])


def of_type(records: Iterable[Record], *types: RdataType) -> tuple[Record, ...]:
    return tuple(record for record in records if record.type in types)
