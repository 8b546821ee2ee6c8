"""Opens the authority that settings name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tulle.ca.authority import Authority
from tulle.ca.delivery import Deliveries
from tulle.ca.federation import Federation
from tulle.ca.jwt_keys import JwtKeys
from tulle.ca.vouching import JoinAuthority
from tulle.settings import Settings


def open_deliveries(settings: Settings, database: str) -> Deliveries:
    """With the bundles of other trust domains. Raises AuthorityError, OSError."""
    authority = open_authority(settings, database)
    return Deliveries(authority, Federation(settings.federation), aliases=settings.mesh.trust_domains[1:])


def open_authority(settings: Settings, database: str) -> Authority:
    """The operator's own, or the one beside the database, which is made where there is none. Raises AuthorityError, OSError."""
    directory = Path(settings.ca_dir) if settings.ca_dir else Path(database).absolute().parent / "ca"
    trust_domain = settings.mesh.trust_domains[0]
    return Authority(directory, trust_domain, given=bool(settings.ca_dir), lifetime=settings.certificate_life)


def open_vouching(settings: Settings, authority: Callable[[], Authority]) -> JoinAuthority | None:
    """Whose certificates let machines join; None where only tokens do. Raises AuthorityError."""
    return JoinAuthority(settings.join_ca, authority) if settings.join_ca else None


def open_jwt_keys(settings: Settings, database: str) -> JwtKeys:
    """Those beside the database, which are made where there are none. Raises AuthorityError, OSError."""
    path = Path(database).absolute().parent / "ca" / "jwt-keys.json"
    return JwtKeys(path, settings.mesh.token_issuer, settings.mesh.trust_domains[0])
