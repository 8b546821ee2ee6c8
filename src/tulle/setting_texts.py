"""How settings are written: each reader takes the text of one and gives its value, or raises ValueError with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and a port to listen on or to reach, written `host:port`, `[v6]:port` or `:port`."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_host: str = "127.0.0.1") -> Address:
        """Raises ValueError with what is wrong."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError(f"{text!r} is not an address: write host:port, for example 127.0.0.1:8500")
        return cls(host=host.strip("[]") or default_host, port=int(port))

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return read


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def hosts(text: str) -> tuple[str, ...]:
    """`mesh.example,192.0.2.7`"""
    found = words(text)
    for one in found:
        if not (one.isascii() and one.isprintable()):
            raise ValueError(f"{one!r} is not a host as certificates name it: write an address, or a name in ASCII (xn--...)")
    return found


def workloads(text: str) -> tuple[str, ...]:
    """`istio-system/edge,shop/edge`"""
    found = words(text)
    for one in found:
        if one.count("/") != 1 or one.startswith("/") or one.endswith("/"):
            raise ValueError(f"{one!r} is not NAMESPACE/SERVICE_ACCOUNT")
    return found


def store(text: str) -> str:
    if text and not text.startswith("sqlite:"):
        raise ValueError(f"{text!r} is not a store: write sqlite:PATH")
    return text


def redis(text: str) -> str:
    """Of the text nothing is told: it may hold a password."""
    if text and not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("it is not a store of counts: write redis://HOST:PORT, rediss://HOST:PORT or unix://PATH")
    return text


def name(text: str) -> str:
    if not text or text != text.strip(". /"):
        raise ValueError(f"{text!r} is not a name")
    return text


def dns(text: str) -> Address | None:
    return None if text.strip().lower() == "off" else Address.parse(text)


def recursors(text: str) -> tuple[Address, ...]:
    return tuple(resolver(word.strip()) for word in text.split(",") if word.strip())


def resolver(text: str) -> Address:
    """Port 53 where none is said."""
    host = text.strip("[]")
    return Address(host=host, port=53) if is_ip(host) else Address.parse(text)


def is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def count(text: str) -> int:
    if not text.isdecimal() or int(text) > 2**31 - 1:
        raise ValueError(f"{text!r} is not a number from 0 to {2**31 - 1}")
    return int(text)


def times(text: str) -> tuple[tuple[str, int], ...]:
    """`web=5,db*=10`"""
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, seconds = word.partition("=")
        if not name or not equals:
            raise ValueError(f"{word!r} is not NAME=SECONDS")
        found.append((name.lower(), count(seconds)))
    return tuple(found)


def domain(text: str) -> str:
    return name(text.rstrip(".").lower())


def datacenter(text: str) -> str:
    if not text or not all(c.isascii() and (c.isalnum() or c in "-_") for c in text):
        raise ValueError(f"{text!r} is not the name of a datacenter: letters, digits, '-' and '_'")
    return text.lower()


def seconds(text: str) -> float:
    """`10s`, `5m`, `72h`, `500ms`."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    number = text.rstrip("smh")
    unit = units.get(text[len(number) :])
    if unit is None or not number.replace(".", "", 1).isdecimal() or not 0 < float(number) * unit < 1e9:
        raise ValueError(f"{text!r} is not a duration: write for example 10s, 5m or 72h")
    return float(number) * unit


def trust_domain(text: str) -> str:
    """As SPIFFE has it: lower-case letters, digits, '.', '-' and '_'."""
    if not text or not all(c.isascii() and (c.islower() or c.isdigit() or c in ".-_") for c in text):
        raise ValueError(f"{text!r} is not a trust domain: lower-case letters, digits, '.', '-' and '_'")
    return text


def trust_domains(text: str) -> tuple[str, ...]:
    return tuple(trust_domain(word.strip()) for word in text.split(",") if word.strip())


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """`127.0.0.0/8,10.1.2.3`"""
    return tuple(ip_network(word.strip(), strict=False) for word in text.split(",") if word.strip())


def issuer(text: str) -> str:
    """OpenID Connect Discovery 1.0, section 3; or a trust domain's own name."""
    url = urlsplit(text)
    if url.scheme not in ("https", "spiffe") or not url.hostname or url.query or url.fragment or url.username or not text.isprintable():
        raise ValueError(f"{text!r} is not an issuer: write an https URL without query, for example https://identity.example")
    return text.rstrip("/")


def federation(text: str) -> tuple[tuple[str, str], ...]:
    """`partner.example=/etc/tulle/partner.pem,other.example=...`"""
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        domain, equals, path = word.partition("=")
        if not equals or not path:
            raise ValueError(f"{word!r} is not TRUST_DOMAIN=FILE")
        found.append((trust_domain(domain), path))
    return tuple(found)


_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=90)


def life(text: str) -> timedelta:
    """`24h`, `30m`, `168h`."""
    found = timedelta(seconds=seconds(text))
    if not _SHORTEST <= found <= _LONGEST:
        raise ValueError(f"{text!r} is not a life for certificates: from 1m to 2160h, such as 24h")
    return found


def connection_life(text: str) -> timedelta:
    """`12h`, or `off`."""
    return timedelta() if text == "off" else timedelta(seconds=seconds(text))


def wan(text: str) -> tuple[tuple[str, str], ...]:
    """`dc2=10.0.0.2:8500,dc3=https://dc3.example.com:8501`: beyond loopback over TLS, where it is not said to be `http://`."""
    found = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, url = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not NAME=URL")
        place = url.rstrip("/").removeprefix("http://")
        address = Address.parse(place.removeprefix("https://"))
        found[datacenter(name)] = place if "://" in url or address.is_loopback else f"https://{place}"
    return tuple(found.items())


def flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "1")
