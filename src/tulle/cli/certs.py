"""`tulle certs`: the certificates that proxies show, and those that public authorities give."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle.cli import client, names, report
from tulle.cli.failure import Failure
from tulle.cli.output import Format, Output, age, document, err, out, table, warn

LATE = 0.25
"""A certificate that is renewed at half its life, and has less than this of it left, has missed its renewal."""
SOON = timedelta(days=14)
"""Of one that people renew; sooner where its whole life is short."""
AUTHORITY_SOON = timedelta(days=30)
STALE = timedelta(minutes=3)
"""So long after a certificate was made its proxy uses it, and has said so."""
_SHOWN = {True: "yes", False: "no", None: "-"}
PAUSE = 0.3
"""Seconds between two questions to the control plane."""
API = "/api/v1/resources/certificates"

certs = typer.Typer(
    name="certs",
    help="The certificates that proxies show, and those that public authorities give.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Name = Annotated[str, typer.Argument(help="Of the Certificate.", metavar="NAME")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to wait at most.", metavar="DURATION")]


@certs.callback(invoke_without_command=True)
def list_(context: typer.Context, output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The certificate that each proxy shows, with a warning where it ends soon; then each Certificate of a public authority, and how
    it stands with it.

    SHOWN is what the proxy itself says: its agent asks it now and then. `no` right after a renewal means that it has not been asked
    since.

    \b
    Examples:
      tulle certs
      tulle certs -o wide
      tulle certs renew shop --wait

    Exit codes: 0 done, 2 no control plane.
    """
    if context.invoked_subcommand:
        return
    asking = client.Client(server)
    told = asking.get("/api/v1/certificates")
    found = told["certificates"]
    if output in (Format.YAML, Format.JSON):
        document(found, output)
        return
    kept = asking.get(API)["items"]
    if found:
        _served(found, wide=output is Format.WIDE)
    else:
        err("no proxy has a certificate yet: `tulle proxies` lists those that are connected")
    ends = _at(told["authority"]["notAfter"])
    if ends - datetime.now(UTC) < AUTHORITY_SOON:
        err(f"warning: the mesh's authority ends at {told['authority']['notAfter']}, and with it all that it signs: see `tulle ca status`")
    if kept:
        _kept(kept)


def _served(found: list[dict[str, Any]], *, wide: bool) -> None:
    now = datetime.now(UTC)
    table(
        ["PROXY", "CERTIFICATE", "FOR", "SERIAL", "SHOWN", "ENDS IN"] + (["FROM", "TO"] if wide else []),
        [_row(c, now, wide=wide) for c in found],
    )
    for one in found:
        if why := _warning(one, now):
            err(f"warning: {one['proxy']}: certificate {one['name']} {why}")


def _row(one: dict[str, Any], now: datetime, *, wide: bool) -> list[str]:
    hosts = ", ".join(name.removeprefix("spiffe://") for name in one["names"])
    row = [one["proxy"], one["name"], hosts or "-", one["serial"][:16], _SHOWN[one["shown"]], _left(one["notAfter"], now)]
    return [*row, one["notBefore"], one["notAfter"]] if wide else row


def _left(until: str, now: datetime, over: str = "ended") -> str:
    left = (_at(until) - now).total_seconds()
    return age(left) if left > 0 else over


def _warning(one: dict[str, Any], now: datetime) -> str:
    begin, end = _at(one["notBefore"]), _at(one["notAfter"])
    if now >= end:
        return f"ended at {one['notAfter']}: connections with it are refused"
    if one["shown"] is False and now - begin > STALE:
        return "is not the one that the proxy shows: is it still connected?"
    if one["name"] == "default":
        missed = (end - now) / (end - begin) < LATE
        return f"ends at {one['notAfter']} and was not renewed: is the proxy still connected?" if missed else ""
    return f"ends at {one['notAfter']}" if end - now < min(SOON, (end - begin) * LATE) else ""


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _kept(items: list[dict[str, Any]]) -> None:
    """Those of public authorities."""
    now = datetime.now(UTC)
    out("")
    table(["NAMESPACE", "NAME", "FOR", "READY", "ENDS IN", "RENEWED IN"], [_standing(item, now) for item in items])
    for item in items:
        warn(item["status"]["warnings"])
        if (ready := _condition(item, "Ready"))["status"] != "True":
            err(f"warning: Certificate/{item['metadata']['name']}: {ready['message']}")


def _standing(item: Mapping[str, Any], now: datetime) -> list[str]:
    meta, status = item["metadata"], item["status"]
    dates = (_left(status["notAfter"], now), _left(status["renewalTime"], now, "now")) if "notAfter" in status else ("-", "-")
    return [meta["namespace"], meta["name"], ", ".join(item["spec"]["dnsNames"]), _condition(item, "Ready")["status"], *dates]


def _condition(item: Mapping[str, Any], kind: str) -> Mapping[str, str]:
    unknown = {"status": "Unknown", "reason": "Pending", "message": "nothing is known of it yet"}
    return next((c for c in item["status"]["conditions"] if c["type"] == kind), unknown)


@certs.command("wait")
def wait(name: Name, namespace: names.Namespace = "default", timeout: Timeout = "5m", server: client.Server = client.DEFAULT) -> None:
    """Wait until a Certificate was given by its authority, and is in its Secret.

    \b
    Example:
      tulle certs wait shop

    Exit codes: 0 it is there, 1 it is not, 2 no control plane.
    """
    _until(name, namespace, timeout, server, lambda _: True)


@certs.command("renew")
def renew(
    name: Name,
    namespace: names.Namespace = "default",
    wait: report.Wait = False,
    timeout: Timeout = "5m",
    server: client.Server = client.DEFAULT,
) -> None:
    """Ask the authority for a new certificate now. Authorities count: some give five a week for the same hosts.

    \b
    Examples:
      tulle certs renew shop
      tulle certs renew shop -n web --wait

    Exit codes: 0 asked for (with --wait: it is there), 1 not, 2 no control plane.
    """
    before = _item(server, namespace, name)["status"].get("serialNumber", "")
    client.Client(server).post("/api/v1/renew", {"namespace": namespace, "name": name})
    if wait:
        _until(name, namespace, timeout, server, lambda item: item["status"].get("serialNumber") != before)
    else:
        out(f"certificate/{name} is asked for ({namespace})")


def _item(server: str, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.Client(server).get(f"{API}/{quote(namespace, safe='')}/{quote(name, safe='')}")
    return found


def _until(name: str, namespace: str, timeout: str, server: str, holds: Callable[[Mapping[str, Any]], bool]) -> None:
    from tulle.resources.scalars import parse_duration

    try:
        deadline = time.monotonic() + parse_duration(timeout).total_seconds()
    except ValueError as error:
        raise Failure(f"--timeout: {error}", 2) from None
    while True:
        item = _item(server, namespace, name)
        ready, issuing = _condition(item, "Ready"), _condition(item, "Issuing")
        if ready["status"] == "True" and holds(item):
            out(f"certificate/{name} is there until {item['status']['notAfter']} ({namespace})")
            return
        if issuing["reason"] == "Failed" or time.monotonic() > deadline:
            raise Failure(f"Certificate/{name}: {issuing['message'] or ready['message']}")
        time.sleep(PAUSE)
