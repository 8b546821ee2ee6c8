"""`tulle can`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from tulle.cli.client import DEFAULT, Client, Server
from tulle.cli.explain import Form, check_source, header_pair
from tulle.cli.failure import Failure
from tulle.cli.files import Filenames
from tulle.cli.output import out

NOBODY_ALLOWS, NO_POLICY = "none of the policies that allow takes it", "no policy is there"
_WRITTEN_NOWHERE = (NOBODY_ALLOWS, NO_POLICY, "no policy that allows is there, so all is allowed")
_STATUS = {"yes": 0, "no": 1, "depends": 3}


def can(
    method: Annotated[str, typer.Argument(metavar="[METHOD]", help="GET, POST, ...; GET where it is left out.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Of a service in the mesh, or at a gateway.")] = "",
    caller: Annotated[str, typer.Option("--from", metavar="NS/SA", help="Who calls; nobody, in plain text, where it is left out.")] = "",
    filename: Filenames = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header. May be repeated.")] = None,
    output: Annotated[Form, typer.Option("--output", "-o", help="How to print.")] = Form.TEXT,
    server: Server = DEFAULT,
) -> None:
    """Whether a caller may make a request, and which policy says so, with file and line. Nothing is sent.

    Every proxy before the service is asked. With -f it asks the documents in files; without, the running mesh.

    \b
    Examples:
      tulle can --from default/web GET http://reviews:9080/
      tulle can -f config/ --from shop/till POST http://bank.example:8080/pay -H 'x-plan: gold'

    Exit codes: 0 yes, 1 no, 2 unusable arguments, 3 it depends.
    """
    if not url:
        method, url = "", method
    if caller:
        check_source(caller, "--from")
    given = {"url": url, "method": method, "headers": [header_pair(text) for text in header or ()], "source": caller}
    question = {name: value for name, value in given.items() if value}
    answer = _offline(filename, question) if filename else _live(server, question)
    out(json.dumps(answer, indent=2, ensure_ascii=False) if output is Form.JSON else _text(answer))
    raise typer.Exit(_STATUS[answer["allowed"]])


def _offline(filename: list[str], question: Mapping[str, Any]) -> Mapping[str, Any]:
    from tulle.cli.offline import compiled
    from tulle.compile.explain import UnusableRequestError, can_request

    offline = compiled(filename)
    try:
        return can_request(offline.mesh, offline.nodes(), question)
    except UnusableRequestError as error:
        raise Failure(str(error), 2) from None


def _live(server: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
    status, answer = Client(server).exchange("POST", "/api/v1/can", question)
    if status > 299:
        raise Failure(str(answer.get("error", answer)), 2)
    return answer  # type: ignore[no-any-return]


def _text(answer: Mapping[str, Any]) -> str:
    """The word, and for each proxy by whose say."""
    said = {True: "yes", False: "no", None: "a service decides"}
    lines = [str(answer["allowed"])]
    for verdict in answer["proxies"]:
        steps = verdict.get("steps", ())
        lines.append(f"  {verdict['proxy']}: {said[verdict.get('allowed')]}: {verdict['by']}{_where(verdict['by'], steps)}")
        if verdict["by"] == NOBODY_ALLOWS:
            lines += [f"    {step['rule']} ({step.get('source', '')}): {step['why']}" for step in steps if _kept_out(step)]
    return "\n".join(lines)


def _where(by: str, steps: Sequence[Mapping[str, Any]]) -> str:
    """Where it is written: others take the call after the one that decides, to mark or to count it."""
    placed = [step for step in steps if step.get("matched") and step.get("source")]
    named = [step for step in placed if f"{by} ".startswith(f"{step['rule']} ")]
    found = named or ([] if by in _WRITTEN_NOWHERE else placed)
    return f" ({found[-1]['source']})" if found else ""


def _kept_out(step: Mapping[str, Any]) -> bool:
    return not step.get("matched") and str(step["rule"]).startswith(("AuthorizationPolicy/", "ServiceIntentions/"))
