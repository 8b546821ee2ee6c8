"""`tulle mtls`: who speaks mutual TLS, and who does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle.cli import client, output
from tulle.cli.failure import Failure

mtls = typer.Typer(
    name="mtls",
    help="Who speaks mutual TLS to whom, who does not, and the way to mutual TLS alone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@mtls.command("status")
def status(
    plain: Annotated[bool, typer.Option("--plain", help="Only those that are not all mutual TLS.")] = False,
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Every connected proxy and every service that it can call: what is spoken between them, and what the service takes.

    Below it the workloads that callers reached in plain text since their proxies started, from wherever those callers are, and
    who calls them so: the workload or machine that has the caller's address, where the mesh knows it. STRICT refuses them: turn
    a service to it when they have gone.

    \b
    Examples:
      tulle mtls status
      tulle mtls status --plain

    Exit codes: 0 done, 2 no control plane.
    """
    found = client.Client(server).get("/api/v1/mtls")
    edges = [edge for edge in found["edges"] if not plain or edge["speaks"] not in ("mutual TLS", "no instances")]
    callers = [counted for counted in found["callers"] if counted["plain"] or counted["refused"] or not plain]
    if form in (output.Format.YAML, output.Format.JSON):
        output.document({"edges": edges, "callers": callers, "plain": found["plain"]}, form)
        return
    wide = form is output.Format.WIDE
    _show_edges(edges, wide=wide, known=bool(found["edges"]))
    _show_callers([counted for counted in callers if counted["plain"] or counted["refused"]])
    _show_plain(found["plain"], wide=wide)


@mtls.command("strict")
def strict(
    workloads: Annotated[list[str] | None, typer.Argument(help="Names of workloads or services; all without.", metavar="[NAME...]")] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only in this namespace.", metavar="NAMESPACE")] = "",
    watch: Annotated[str, typer.Option("--watch", help="How long each is on trial.", metavar="DURATION")] = "60s",
    quiet: Annotated[str, typer.Option("--quiet", help="For so long nobody may have called in plain text.", metavar="DURATION")] = "1h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End with the first that must go back, instead of going on with the next.")] = False,
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Turn workloads to mutual TLS alone (STRICT), one after the other, and back where calls then fail.

    Workloads that somebody calls in plain text, or that a policy of yours is about, are left as they are, and you are told why.
    Each of the others gets a PeerAuthentication of the name WORKLOAD-strict. While it is on trial, connections that are refused
    or fail, and answers of 5xx, are counted: when they become more, or when you press Ctrl-C, the policy is deleted again.

    \b
    Examples:
      tulle mtls strict --dry-run
      tulle mtls strict reviews -n shop --watch 5m
      tulle mtls strict --yes

    Exit codes: 0 all are STRICT, 1 some are not, 2 unusable arguments or no control plane, 130 interrupted.
    """
    from tulle.cli import strict as turning

    control = client.Client(server, 120.0)
    seconds = _seconds("--watch", watch)
    if not dry_run:
        turning.undo_abandoned(control)
    steps = _chosen(control.get(f"/api/v1/mtls/workloads?quiet={quote(quiet)}")["workloads"], workloads or [], namespace)
    for_programs = form in (output.Format.YAML, output.Format.JSON)
    if for_programs:
        output.document(steps, form)
    else:
        _show_steps(steps)
    if dry_run:
        return
    turned = sum(step["way"] == "turn" for step in steps)
    if turned and not yes and not typer.confirm(f"Turn {turned} to STRICT?", err=True):
        raise Failure("nothing was changed")
    done = turning.Turning(at=control, watch=seconds, stop_at_first=stop, say=output.err if for_programs else output.out).run(steps)
    raise typer.Exit(0 if done and all(step["way"] != "skip" for step in steps) else 1)


def _seconds(option: str, text: str) -> float:
    from tulle.resources.scalars import parse_duration

    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise Failure(f"{option}: {error}", 2) from None


def _chosen(steps: list[dict[str, Any]], wanted: list[str], namespace: str) -> list[dict[str, Any]]:
    """Raises Failure for a name that nothing has."""
    there = [step for step in steps if namespace in ("", step["namespace"])]
    for name in wanted:
        if not any(_is(step, name) for step in there):
            raise Failure(f"no connected sidecar's workload is called {name!r}: `tulle mtls status` and `tulle proxies` list what there is")
    return [step for step in there if not wanted or any(_is(step, name) for name in wanted)]


def _is(step: dict[str, Any], name: str) -> bool:
    hosts = {form for host in step["services"] for form in (host, host.partition(".")[0])}
    return name in (step["name"], f"{step['namespace']}/{step['name']}", *hosts)


_WAYS = {"turn": "to be turned", "done": "STRICT already", "skip": "left as it is"}


def _show_steps(steps: list[dict[str, Any]]) -> None:
    if not steps:
        output.err("no sidecar is connected")
        return
    rows = [[f"{s['namespace']}/{s['name']}", _modes(s), s["connections"], s["plain"], _WAYS[s["way"]]] for s in steps]
    output.table(["WORKLOAD", "TAKES", "MUTUAL TLS", "PLAIN TEXT", "PLAN"], rows)
    for step in (step for step in steps if step["why"]):
        output.out(f"{step['namespace']}/{step['name']} is left as it is: {step['why']}")


def _modes(step: dict[str, Any]) -> str:
    return ", ".join(sorted({port["mode"] for port in step["ports"]}))


def _show_edges(edges: list[dict[str, Any]], *, wide: bool, known: bool) -> None:
    if not edges:
        nothing = "no proxy is connected, or no service is known"
        output.err("all that connected proxies say to each other is mutual TLS" if known else nothing)
        return
    headers = ["CALLER", "SERVICE", "SPEAKS", "TAKES", "INSTANCES"] + (["RULES"] if wide else [])
    output.table(headers, [_row(edge, wide=wide) for edge in edges])
    for edge in (edge for edge in edges if edge["fails"]):
        where = f"{edge['host']}:{edge['port']}"
        output.err(f"warning: {edge['caller']} speaks {edge['speaks']} to {where}, of which some instances are STRICT")


def _show_callers(callers: list[dict[str, Any]]) -> None:
    if not callers:
        return
    output.out("")
    now = datetime.now(UTC)
    rows = [[c["proxy"], c["port"], c["plain"], c["refused"], c["mutual"], _ago(c["last"], now)] for c in callers]
    output.table(["CALLED IN PLAIN TEXT", "PORT", "CONNECTIONS", "REFUSED", "MUTUAL TLS", "LAST"], rows)


def _show_plain(callers: list[dict[str, Any]], *, wide: bool) -> None:
    if not callers:
        return
    output.out("")
    now = datetime.now(UTC)
    headers = ["PLAIN TEXT FROM", "ADDRESS", "TO", "PORT", "CALLS", "REFUSED", "LAST"] + (["WORKLOADS THERE"] if wide else [])
    rows = [[c["caller"] or "-", c["address"], c["proxy"], c["port"], c["calls"], c["refused"], _ago(c["last"], now)] for c in callers]
    more = [[", ".join(c["workloads"]) or "-"] if wide else [] for c in callers]
    output.table(headers, [[*row, *tail] for row, tail in zip(rows, more, strict=True)])


def _ago(last: str, now: datetime) -> str:
    return f"{output.age((now - datetime.fromisoformat(last)).total_seconds())} ago" if last else "-"


def _row(edge: dict[str, Any], *, wide: bool) -> list[str]:
    instances = f"{edge['mutual']}/{edge['instances']}"
    row = [edge["caller"], f"{edge['host']}:{edge['port']}", edge["speaks"], ", ".join(edge["modes"]) or "-", instances]
    return [*row, "; ".join(f"{source['rule']} ({source['origin']})" for source in edge["sources"])] if wide else row
