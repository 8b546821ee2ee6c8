"""Options of listeners that end TLS: what of them is known, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tulle.model.tls import TlsVersion
from tulle.resources.gatewayapi.options import CIPHERS, CURVES, MAXIMUM, MINIMUM, TERMINATE_MODE, listed
from tulle.resources.networking import tls as known

_VERSIONS = {version.value.removeprefix("TLSv").replace("_", "."): version for version in TlsVersion}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    minimum: TlsVersion = TlsVersion.V1_2
    maximum: TlsVersion | None = None
    cipher_suites: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


def settings(options: Mapping[str, str]) -> Settings:
    """What cannot be used is left out; it was warned of when the document was read."""
    return Settings(
        minimum=_VERSIONS.get(options.get(MINIMUM, ""), TlsVersion.V1_2),
        maximum=_VERSIONS.get(options.get(MAXIMUM, "")),
        cipher_suites=tuple(c for c in listed(options.get(CIPHERS, "")) if c in known.CIPHER_SUITES),
        curves=tuple(c for c in listed(options.get(CURVES, "")) if c in known.CURVES),
    )


def asks_callers(options: Mapping[str, str]) -> bool:
    """Whether callers are asked for certificates, which the authority in the listener's own Secret must have signed (Istio's option)."""
    return options.get(TERMINATE_MODE) in ("MUTUAL", "OPTIONAL_MUTUAL")


def takes_without(options: Mapping[str, str]) -> bool:
    """Whether callers without a certificate are taken, too."""
    return options.get(TERMINATE_MODE) == "OPTIONAL_MUTUAL"
