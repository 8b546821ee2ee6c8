"""`tulle certs`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tulle.cli import client
from tulle.cli.output import Format, Output, age, document, err, table

LATE = 0.25
"""A certificate that is renewed at half its life, and has less than this of it left, has missed its renewal."""
SOON = timedelta(days=14)
"""Of one that people renew."""


def certs(output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The certificate that each proxy has acknowledged and shows, with a warning where it ends soon.

    \b
    Examples:
      tulle certs
      tulle certs -o wide

    Exit codes: 0 done, 2 no control plane.
    """
    found = client.Client(server).get("/api/v1/certificates")["certificates"]
    if output in (Format.YAML, Format.JSON):
        document(found, output)
        return
    now = datetime.now(UTC)
    if not found:
        err("no proxy has a certificate yet: `tulle proxies` lists those that are connected")
        return
    wide = output is Format.WIDE
    table(["PROXY", "CERTIFICATE", "FOR", "SERIAL", "ENDS IN"] + (["FROM", "TO"] if wide else []), [_row(c, now, wide=wide) for c in found])
    for one in found:
        if why := _warning(one, now):
            err(f"warning: {one['proxy']}: certificate {one['name']} {why}")


def _row(one: dict[str, Any], now: datetime, *, wide: bool) -> list[str]:
    left = (_at(one["notAfter"]) - now).total_seconds()
    names = ", ".join(name.removeprefix("spiffe://") for name in one["names"])
    row = [one["proxy"], one["name"], names or "-", one["serial"][:16], age(left) if left > 0 else "ended"]
    return [*row, one["notBefore"], one["notAfter"]] if wide else row


def _warning(one: dict[str, Any], now: datetime) -> str:
    begin, end = _at(one["notBefore"]), _at(one["notAfter"])
    if now >= end:
        return f"ended at {one['notAfter']}: connections with it are refused"
    if one["name"] == "default":
        missed = (end - now) / (end - begin) < LATE
        return f"ends at {one['notAfter']} and was not renewed: is the proxy still connected?" if missed else ""
    return f"ends at {one['notAfter']}" if end - now < SOON else ""


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
