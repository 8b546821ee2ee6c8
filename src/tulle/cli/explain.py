"""`tulle explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from tulle.cli.client import DEFAULT, Client, Server
from tulle.cli.failure import Failure
from tulle.cli.files import Filenames
from tulle.cli.output import out


class Form(StrEnum):
    TEXT = "text"
    JSON = "json"


def explain(
    method: Annotated[str, typer.Argument(metavar="[METHOD]", help="GET, POST, ...; GET where it is left out.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="http://, https://, or tls://, tcp://, udp:// with host:port.")] = "",
    caller: Annotated[
        str,
        typer.Option("--from", metavar="ID|gateway|FILE", help="The proxy where the request enters."),
    ] = "gateway",
    filename: Filenames = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header. May be repeated.")] = None,
    connect_to: Annotated[str, typer.Option(metavar="ADDR:PORT", help="The listener dialled, where the URL does not say it.")] = "",
    source: Annotated[str, typer.Option(metavar="IP|NS/SA", help="Who calls: an address, or an identity that is shown.")] = "",
    sni: Annotated[str, typer.Option(metavar="NAME", help="The name asked for in TLS, where it is not the URL's.")] = "",
    alpn: Annotated[str, typer.Option(metavar="PROTOCOLS", help="Offered in TLS, such as h2,http/1.1; h3 for HTTP/3.")] = "",
    output: Annotated[Form, typer.Option("--output", "-o", help="How to print.")] = Form.TEXT,
    server: Server = DEFAULT,
) -> None:
    """Where a request would go, and why: every rule tried, why it lost or won, with file and line. Nothing is sent.

    With -f it asks the documents in files; without, the running mesh.

    \b
    Examples:
      tulle explain --from reviews-v1 GET http://ratings:9080/ratings/0
      tulle explain -f config/ --from gateway GET http://bookinfo.example/productpage -H 'end-user: jason'
      tulle explain -f config/ --from node.yaml GET http://reviews:9080/ -o json
      tulle explain -f config/ GET https://shop.example/cart --alpn h2
      tulle explain -f config/ tls://db.example:5432
      tulle explain --from reviews-v1 --connect-to 127.0.0.1:9080 --source default/web GET http://reviews:9080/

    With -f, --from takes `gateway`, a workload of a mesh file among the files, or a file with a node, such as
    {type: sidecar, namespace: default, labels: {app: web}}.

    Exit codes: 0 explained, 1 violations in the files, 2 unusable arguments.
    """
    if not url:
        method, url = "", method
    headers = [header_pair(text) for text in header or ()]
    given = {"url": url, "method": method, "headers": headers, "connect_to": connect_to, "sni": sni, "alpn": alpn}
    question = {name: value for name, value in given.items() if value}
    if "/" in source:
        check_source(source, "--source")
        question["source"] = source
    elif source:
        question["source"] = _address(source)
    trace = _offline(filename, caller, question) if filename else _live(server, caller, question)
    if output is Form.JSON:
        out(json.dumps(trace, indent=2, ensure_ascii=False))
        return
    from tulle.cli.trace import text

    out(text(f"{method} {url}".lstrip(), trace))


def _offline(filename: list[str], caller: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
    from tulle.cli.offline import compiled
    from tulle.compile.explain import UnusableRequestError, explain_request

    offline = compiled(filename)
    try:
        return explain_request(offline.mesh, offline.node(caller, "--from"), question, offline.nodes())
    except UnusableRequestError as error:
        raise Failure(str(error), 2) from None


def _live(server: str, caller: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
    status, trace = Client(server).exchange("POST", "/api/v1/explain", {"from": caller, **question})
    if status > 299:
        raise Failure(str(trace.get("error", trace)), 2 if status < 500 else 1)
    return trace  # type: ignore[no-any-return]


def header_pair(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise Failure(f"-H: {text!r} is not a header; write 'name: value'", 2)
    return [name.strip(), value.strip()]


def _address(source: str) -> str:
    try:
        return str(ip_address(source))
    except ValueError:
        raise Failure(f"--source: {source!r} is not NAMESPACE/SERVICEACCOUNT, for example default/web, nor an IP address", 2) from None


def check_source(source: str, option: str) -> None:
    """Ends the program (2) where a text is no identity."""
    if source.startswith("spiffe://"):
        return
    namespace, slash, account = source.partition("/")
    if not (slash and namespace and account):
        raise Failure(f"{option}: {source!r} is not NAMESPACE/SERVICEACCOUNT, for example default/web", 2)
