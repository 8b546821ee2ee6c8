"""The certificates that a proxy serves, in its own words (Envoy's admin interface, `/certs`). Pure.

{"certificates": [{"cert_chain": [{"serial_number": "1f...", "subject_alt_names": [{"uri": "spiffe://..."}],
  "valid_from": "2026-01-01T00:00:00Z", "expiration_time": "2026-01-02T00:00:00Z", ...}], "ca_cert": [...]}, ...]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A certificate that a proxy shows to callers or to those whom it calls."""

    serial: str
    """In hex, without leading zeros."""
    names: tuple[str, ...]
    not_before: str
    """As ISO 8601; likewise the next."""
    not_after: str


def shown(said: Mapping[str, Any]) -> tuple[Shown, ...]:
    """Each once, in the order of their serial numbers. Raises KeyError for what Envoy would not say."""
    leaves = (one["cert_chain"][0] for one in said.get("certificates", ()) if one.get("cert_chain"))
    found = {one["serial_number"].lstrip("0"): one for one in leaves}
    return tuple(
        Shown(
            serial=serial,
            names=tuple(name for pair in one.get("subject_alt_names", ()) for name in pair.values()),
            not_before=one["valid_from"],
            not_after=one["expiration_time"],
        )
        for serial, one in sorted(found.items())
    )
