"""`tulle maint`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from tulle.cli import client
from tulle.cli.failure import Failure
from tulle.cli.output import err, out, table

NODE = "_node_maintenance"
SERVICE = "_service_maintenance:"


def maint(
    enable: Annotated[bool, typer.Option("--enable", "-enable", help="Begin.")] = False,
    disable: Annotated[bool, typer.Option("--disable", "-disable", help="End.")] = False,
    service: Annotated[str, typer.Option("--service", "-service", help="Id of a service; without, the whole machine.", metavar="ID")] = "",
    reason: Annotated[str, typer.Option("--reason", "-reason", help="Shown with the check, for others to read.")] = "",
    token: client.Token = "",
    server: client.Server = client.DEFAULT,
) -> None:
    """Take a service, or all of the control plane's machine, out for maintenance: a critical check is put on it. Or show what is out.

    \b
    Examples:
      tulle maint --enable --service web-1 --reason "new disk"
      tulle maint --disable --service web-1
      tulle maint

    Exit codes: 0 done, 1 there is no such service, 2 unusable arguments or no control plane.
    """
    if enable and disable:
        raise Failure("--enable and --disable: give one of them", 2)
    if enable or disable:
        path = f"/v1/agent/service/maintenance/{quote(service, safe='')}" if service else "/v1/agent/maintenance"
        asked = urlencode({"enable": str(enable).lower(), "reason": reason})
        client.Client(server).consul("PUT", f"{path}?{asked}", token=token)
        out(f"{service or 'the machine'} is {'in' if enable else 'out of'} maintenance")
        return
    if reason:
        raise Failure("--reason: give --enable with it", 2)
    found = client.Client(server).get("/api/v1/checks")["checks"]
    rows = [[c["node"], c["serviceId"] or "-", c["since"], c["notes"]] for c in found if c["id"] == NODE or c["id"].startswith(SERVICE)]
    rows = [row for row in rows if service in ("", row[1])]
    if rows:
        table(["NODE", "SERVICE", "SINCE", "REASON"], rows)
    else:
        err("nothing is in maintenance")
