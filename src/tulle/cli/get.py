"""`tulle get`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle.cli import client, names
from tulle.cli.failure import Failure
from tulle.cli.output import Format, Output, document, err, table

Words = Annotated[
    list[str], typer.Argument(help="A kind (vs, dr, gw, se, we, svc, ... or all), and the names of documents.", metavar="KIND [NAME...]")
]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="In all namespaces.")]


def get(
    words: Words,
    namespace: names.Namespace = "default",
    everywhere: Everywhere = False,
    output: Output = Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Show documents and what became of them.

    ACCEPTED says whether what was applied last is valid; PROGRAMMED, whether the proxies have it. The YAML and JSON forms hold
    both as conditions, with reasons.

    \b
    Examples:
      tulle get all -A
      tulle get virtualservice
      tulle get vs reviews -n shop -o yaml
      tulle get dr -o wide

    Exit codes: 0 shown, 1 not there, 2 unusable arguments or no control plane.
    """
    kind, wanted = names.split(words)
    found = _find(server, kind, wanted, "" if everywhere else namespace)
    if output in (Format.YAML, Format.JSON):
        document(found[0] if len(wanted) == 1 else {"apiVersion": "v1", "kind": "List", "items": found}, output)
    elif found:
        _table(found, everywhere, with_kind=kind.lower() == "all", wide=output is Format.WIDE)
    else:
        err("nothing found" + ("" if everywhere else f" in namespace {namespace}; -A looks in all"))


def _find(server: str, kind: str, wanted: Sequence[str], namespace: str) -> list[dict[str, Any]]:
    if not kind:
        raise Failure("say what to get: a kind, such as virtualservice", 2)
    path = "/api/v1/resources" if kind.lower() == "all" else f"/api/v1/resources/{quote(kind, safe='')}"
    items: list[dict[str, Any]] = client.Client(server).get(f"{path}?namespace={quote(namespace)}")["items"]
    present = {item["metadata"]["name"] for item in items}
    if missing := [name for name in wanted if name not in present]:
        where = f"in namespace {namespace}" if namespace else "in any namespace"
        raise Failure(f"there is no {kind} called {', '.join(missing)} {where}")
    return [item for item in items if not wanted or item["metadata"]["name"] in wanted]


def _table(items: Sequence[Mapping[str, Any]], everywhere: bool, *, with_kind: bool, wide: bool) -> None:
    headers = (
        (["NAMESPACE"] if everywhere else []) + (["KIND"] if with_kind else []) + ["NAME", "FOR", "ACCEPTED", "PROGRAMMED", "WARNINGS"]
    )
    headers += ["GENERATION", "FILE", "MESSAGE"] if wide else []
    rows = []
    for item in items:
        metadata, status = item["metadata"], item["status"]
        conditions = {condition["type"]: condition for condition in status["conditions"]}
        row = ([metadata["namespace"]] if everywhere else []) + ([item["kind"]] if with_kind else [])
        row += [
            metadata["name"],
            _about(item),
            *(conditions[name]["status"] for name in ("Accepted", "Programmed")),
            len(status["warnings"]),
        ]
        if wide:
            messages = "; ".join(condition["message"] for condition in status["conditions"] if condition["message"])
            row += [metadata.get("generation", 0), status.get("origin", ""), messages]
        rows.append(row)
    table(headers, rows)


def _about(item: Mapping[str, Any]) -> str:
    """What the document is about, in a few words."""
    spec = item.get("spec") or {}
    servers = [host for server in spec.get("servers") or () for host in server.get("hosts") or ()]
    listeners = [f"{one.get('hostname') or '*'}:{one.get('port')}" for one in spec.get("listeners") or ()]
    said = (
        spec.get("hosts")
        or servers
        or spec.get("hostnames")
        or spec.get("dnsNames")
        or listeners
        or [spec.get("host") or spec.get("address") or ""]
    )
    text = ",".join(str(part) for part in said)
    return text if len(text) <= 50 else text[:47] + "..."
