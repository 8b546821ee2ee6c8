"""`tulle secret`: certificates and keys for proxies."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle.cli import client, names, output, report
from tulle.cli.failure import Failure

secret = typer.Typer(
    name="secret",
    help="Certificates and keys for gateways and calls out. What is put in is never shown again.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
create = typer.Typer(name="create", help="Put a certificate, or an authority, into a Secret.", rich_markup_mode=None, no_args_is_help=True)
secret.add_typer(create)

Name = Annotated[str, typer.Argument(help="Of the Secret, as credentialName names it.", metavar="NAME")]
PemFile = Annotated[Path, typer.Option(metavar="FILE")]
API = "/api/v1/resources/secrets"


@create.command("tls")
def create_tls(
    name: Name,
    cert: Annotated[Path, typer.Option("--cert", help="The certificate, and those that lead to its authority, as PEM.", metavar="FILE")],
    key: Annotated[Path, typer.Option("--key", help="Its private key, as PEM.", metavar="FILE")],
    ca: Annotated[Path | None, typer.Option("--ca", help="Who signs the other side's certificates, for MUTUAL.", metavar="FILE")] = None,
    namespace: names.Namespace = "default",
    wait: report.Wait = False,
    timeout: report.Timeout = "30s",
    server: client.Server = client.DEFAULT,
) -> None:
    """Put a certificate and its key into a Secret, or replace them: proxies take the new ones at once.

    \b
    Examples:
      tulle secret create tls shop --cert shop.crt --key shop.key -n istio-system
      tulle secret create tls shop --cert shop.crt --key shop.key --ca callers.pem --wait

    Exit codes: 0 taken, 1 cannot be used, 2 unusable arguments or no control plane.
    """
    entries = {"tls.crt": _read(cert), "tls.key": _read(key)} | ({"ca.crt": _read(ca)} if ca else {})
    _apply(name, namespace, "kubernetes.io/tls", entries, wait, timeout, server)


@create.command("ca")
def create_ca(
    name: Name,
    ca: Annotated[Path, typer.Option("--ca", help="Certificates of authorities, as PEM.", metavar="FILE")],
    crl: Annotated[Path | None, typer.Option("--crl", help="Certificates that are trusted no more, as PEM.", metavar="FILE")] = None,
    namespace: names.Namespace = "default",
    wait: report.Wait = False,
    timeout: report.Timeout = "30s",
    server: client.Server = client.DEFAULT,
) -> None:
    """Put an authority into a Secret. The Secret NAME-cacert is looked at for the credential NAME.

    \b
    Example:
      tulle secret create ca shop-cacert --ca callers.pem -n istio-system

    Exit codes: 0 taken, 1 cannot be used, 2 unusable arguments or no control plane.
    """
    entries = {"ca.crt": _read(ca)} | ({"ca.crl": _read(crl)} if crl else {})
    _apply(name, namespace, "Opaque", entries, wait, timeout, server)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}", 2) from None


def _apply(name: str, namespace: str, kind: str, entries: Mapping[str, bytes], wait: bool, timeout: str, server: str) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": kind,
        "data": {entry: base64.b64encode(value).decode() for entry, value in entries.items()},
    }
    files = [{"path": f"secret/{name}", "text": json.dumps(document)}]
    body = {"files": files, "namespace": namespace, "wait": timeout if wait else ""}
    raise typer.Exit(report.show(client.Client(server, 700.0 if wait else 60.0).post("/api/v1/apply", body)))


@secret.command("list")
def list_(
    namespace: names.Namespace = "default",
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """List Secrets, and what may be told of their certificates.

    Exit codes: 0 done, 2 no control plane.
    """
    items = client.Client(server).get(API + ("" if everywhere else f"?namespace={namespace}"))["items"]
    if form in (output.Format.YAML, output.Format.JSON):
        output.document({"items": [_told(item) for item in items]}, form)
        return
    output.table(("NAMESPACE", "NAME", "TYPE", "FOR", "EXPIRES"), (_row(item) for item in items))


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    own = item["status"]["certificates"][:1]
    held = ", ".join(own[0]["names"] or [own[0]["subject"]]) if own else "-"
    return item["metadata"]["namespace"], item["metadata"]["name"], item.get("type", "-"), held, _left(own[0]["notAfter"]) if own else "-"


def _left(until: str) -> str:
    seconds = (datetime.fromisoformat(until) - datetime.now(UTC)).total_seconds()
    return f"in {output.age(seconds)}" if seconds > 0 else f"{output.age(-seconds)} ago"


@secret.command()
def show(
    name: Name,
    namespace: names.Namespace = "default",
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Show what may be told of a Secret: whose certificates it holds, until when, and their fingerprints.

    Exit codes: 0 done, 1 not there, 2 no control plane.
    """
    item = client.Client(server).get(f"{API}/{quote(namespace, safe='')}/{quote(name, safe='')}")
    if form in (output.Format.YAML, output.Format.JSON):
        output.document(_told(item), form)
        return
    output.out(f"{namespace}/{name}  {item.get('type', '')}  entries: {', '.join(item.get('data', {})) or 'none'}")
    for one in item["status"]["certificates"]:
        output.out(f"\n{one['use']} certificate")
        shown = {"subject": one["subject"], "issuer": one["issuer"], "names": ", ".join(one["names"]) or "-"}
        shown |= {"valid": f"{one['notBefore']} to {one['notAfter']} ({_left(one['notAfter'])})", "sha256": one["sha256"]}
        for word, text in shown.items():
            output.out(f"  {word:<8} {text}")
    output.warn(item["status"]["warnings"])


def _told(item: Mapping[str, Any]) -> dict[str, Any]:
    meta = item["metadata"]
    return {
        "name": meta["name"],
        "namespace": meta["namespace"],
        "type": item.get("type", ""),
        "entries": sorted(item.get("data", {})),
        "certificates": item["status"]["certificates"],
    }


@secret.command()
def delete(name: Name, namespace: names.Namespace = "default", server: client.Server = client.DEFAULT) -> None:
    """Delete a Secret. What needs it is then not served, and calls that need it are refused.

    Exit codes: 0 deleted, 1 not there, 2 no control plane.
    """
    body = {"resources": [{"kind": "Secret", "namespace": namespace, "name": name}]}
    answer = client.Client(server).post("/api/v1/delete", body)
    code = report.show(answer)
    raise typer.Exit(code or int(answer["results"][0]["outcome"] == "not found"))
