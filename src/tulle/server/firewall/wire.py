"""What the control plane and the process that looks at requests say to each other: JSON, a line for each message."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tulle.model.firewall import Bodies, Exclusion, Firewall

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
"""What proxies ask."""
LONGEST_LINE = 64 << 20
"""Bytes."""


def line(said: dict[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def spoken(firewalls: tuple[Firewall, ...]) -> bytes:
    """The line that says which Firewalls are in force."""
    return line({"firewalls": [asdict(f) for f in firewalls]})


def understood(said: dict[str, Any]) -> tuple[Firewall, ...]:
    return tuple(_firewall(fields) for fields in said["firewalls"])


def _firewall(said: dict[str, Any]) -> Firewall:
    fields = _tuples(said)
    exclusions, answers = said["exclusions"], said["answers"]
    fields["exclusions"] = tuple(Exclusion(**_tuples(one)) for one in exclusions)
    fields["requests"] = Bodies(**said["requests"])
    fields["answers"] = Bodies(**answers) if answers else None
    return Firewall(**fields)


def _tuples(said: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
