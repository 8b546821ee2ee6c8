"""`tulle endpoints`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle.cli import client
from tulle.cli.output import Format, Output, age, document, err, table

ServiceName = Annotated[
    str, typer.Argument(help="A service: name, name.namespace or the full host name. All, if absent.", metavar="[SERVICE]")
]


def endpoints(service: ServiceName = "", output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The instances behind a service: what checks say of each, and whether proxies have ejected it. With -o wide, why.

    \b
    Examples:
      tulle endpoints reviews
      tulle endpoints reviews.shop -o wide
    """
    found = client.Client(server).get("/api/v1/endpoints" + (f"/{quote(service, safe='')}" if service else ""))["endpoints"]
    if output in (Format.YAML, Format.JSON):
        document(found, output)
    elif not found:
        err("no endpoints")
    else:
        wide = output is Format.WIDE
        rows = []
        for item in found:
            address = f"{item['address']}:{item['port']}" if item["port"] else item["address"]
            row = [item["host"], item["servicePort"], address, item["health"], _ejected(item), item["workload"]]
            labels = ",".join(f"{name}={value}" for name, value in sorted(item["labels"].items()))
            rows.append(row + ([item["weight"], item["locality"] or "-", labels or "-", _why(item)] if wide else []))
        more = ["WEIGHT", "LOCALITY", "LABELS", "WHY"] if wide else []
        table(["SERVICE", "PORT", "ENDPOINT", "HEALTH", "EJECTED", "WORKLOAD", *more], rows)


def _ejected(item: dict[str, Any]) -> str:
    """By how many proxies."""
    many = len(item["ejected"])
    return f"by {many}" if many else "no"


def _why(item: dict[str, Any]) -> str:
    now = datetime.now(UTC)
    words = [_failing(check, now) for check in item["checks"] if check["state"] != "passing"]
    words += [f"{ejection['by']} ejected it{_for(ejection['since'], now)}: {ejection['reason']}" for ejection in item["ejected"]]
    return "; ".join(words) or "-"


def _failing(check: dict[str, Any], now: datetime) -> str:
    said = " ".join(check["output"].split()) or "no output"
    return f"{check['id']} is {check['state']}{_for(check['since'], now)}: {said}"


def _for(since: str, now: datetime) -> str:
    try:
        return f" for {age((now - datetime.fromisoformat(since)).total_seconds())}"
    except (ValueError, TypeError):
        return ""
