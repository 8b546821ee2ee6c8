"""`tulle proxies`."""

from __future__ import annotations

from datetime import UTC, datetime

from tulle.cli import client
from tulle.cli.output import Format, Output, age, document, err, table


def proxies(output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The connected proxies, and whether each has acknowledged all that is in force.

    \b
    Examples:
      tulle proxies
      tulle proxies -o wide
    """
    found = client.Client(server).get("/api/v1/proxies")["proxies"]
    if output in (Format.YAML, Format.JSON):
        document(found, output)
    elif not found:
        err("no proxy is connected: start one with `tulle run` or `tulle gateway`")
    else:
        wide = output is Format.WIDE
        now = datetime.now(UTC)
        rows = []
        for item in found:
            connected = age((now - datetime.fromisoformat(item["connectedSince"])).total_seconds())
            state = "refused" if item["error"] else "yes" if item["current"] else "no"
            row = [item["id"], item["role"], item["namespace"], state, connected]
            acked = " ".join(f"{kind}={version}" for kind, version in item["acked"].items())
            rows.append(row + ([item["ip"], item["version"], acked, item["error"]] if wide else []))
        table(["PROXY", "ROLE", "NAMESPACE", "CURRENT", "CONNECTED"] + (["IP", "VERSION", "ACKNOWLEDGED", "ERROR"] if wide else []), rows)
