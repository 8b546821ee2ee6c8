"""`tulle`: the table of commands. A command's module is loaded when the command is called, so that the rest costs nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tulle.cli.credentials import CA_VARIABLE, CERT_VARIABLE, FILE_VARIABLE, KEY_VARIABLE, VARIABLE
from tulle.cli.failure import Failure

COMPLETE = "_TULLE_COMPLETE"
"""The variable by which a shell asks for completions."""
HELP = """Tulle: a load balancer and service mesh for plain machines.

\b
  tulle demo                        see it work, in one command
  tulle up mesh.yaml                start the mesh that a file describes
  tulle run --service web --port 8080 -- python app.py
  tulle apply -f routes.yaml        change where traffic goes
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One command: the module that holds it, and the function (or Typer app) in there of the command's name."""

    name: str
    help: str
    module: str = ""
    function: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)

    def stub(self) -> TyperCommand:
        """Stands for the command in lists: no module is loaded for it."""
        return TyperCommand(self.name, help=self.help, rich_markup_mode=None)

    def load(self) -> Any:
        target = getattr(import_module(self.module or f"tulle.cli.{self.name}"), self.function or self.name)
        if isinstance(target, typer.Typer):
            return typer.main.get_command(target)
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(self.name, context_settings=dict(self.context))(target)
        return typer.main.get_command(app)


COMMANDS: Mapping[str, tuple[Entry, ...]] = {
    "Start": (
        Entry(name="demo", help="A sample mesh and a tour of what it can do; leaves nothing behind."),
        Entry(name="up", help="Control plane, gateway and the workloads of a mesh file, on this machine."),
        Entry(name="run", help="Run an application in the mesh, with a sidecar.", context={"allow_interspersed_args": False}),
        Entry(name="control", help="The control plane alone."),
        Entry(name="agent", help="The workloads of a mesh file, for a control plane that runs elsewhere."),
        Entry(name="gateway", help="A gateway: where traffic from outside enters."),
    ),
    "Configure": (
        Entry(name="apply", help="Put documents into force."),
        Entry(name="delete", help="Take documents out of force."),
        Entry(name="get", help="Show documents and what became of them."),
        Entry(name="diff", help="Show what an apply would change."),
        Entry(name="validate", help="Check documents, offline."),
        Entry(name="maint", help="Take a service, or a whole machine, out for maintenance."),
        Entry(name="secret", help="Certificates and keys for proxies."),
        Entry(name="store-key", help="The keys that the database is encrypted with.", module="tulle.cli.store_key", function="store_key"),
        Entry(name="ca", help="The authority behind workloads' identities, and how its root is replaced."),
        Entry(name="identity", help="What a workload shows to those with whom it has no mutual TLS."),
        Entry(name="revoke", help="Shut an identity out of the whole mesh, at once."),
        Entry(name="token", help="Who may ask the control plane for what, and which machines may join."),
        Entry(name="translate", help="Show the proxy configuration that documents make, offline."),
    ),
    "Look": (
        Entry(name="explain", help="Where a request would go, and why."),
        Entry(name="can", help="Whether somebody may call, and which policy says so."),
        Entry(name="services", help="The services of the mesh; register and deregister instances."),
        Entry(name="endpoints", help="The instances behind a service."),
        Entry(name="checks", help="What is checked, its state, since when, and why."),
        Entry(name="proxies", help="The connected proxies and what they have acknowledged."),
        Entry(name="certs", help="The certificates that proxies show, and those that public authorities give."),
        Entry(name="mtls", help="Who speaks mutual TLS to whom, and the way to mutual TLS alone."),
        Entry(name="version", help="Versions of Tulle, of the control plane and of Envoy."),
        Entry(name="completion", help="Print a completion script for your shell."),
    ),
}
ENTRIES: Mapping[str, Entry] = {entry.name: entry for entries in COMMANDS.values() for entry in entries}


def _before(
    token_file: Annotated[
        str, typer.Option(help="Holds the token for the control plane (TULLE_TOKEN_FILE; the token itself: TULLE_TOKEN).", metavar="FILE")
    ] = "",
    ca_file: Annotated[
        str, typer.Option(help="The roots (PEM) by which the control plane is known over TLS (TULLE_CA_FILE).", metavar="FILE")
    ] = "",
    cert_file: Annotated[str, typer.Option(help="The client certificate to show to it (TULLE_CERT_FILE).", metavar="FILE")] = "",
    key_file: Annotated[str, typer.Option(help="The key of that certificate (TULLE_KEY_FILE).", metavar="FILE")] = "",
) -> None:
    """What holds for all commands."""
    if token_file:
        os.environ.pop(VARIABLE, None)
    given = {FILE_VARIABLE: token_file, CA_VARIABLE: ca_file, CERT_VARIABLE: cert_file, KEY_VARIABLE: key_file}
    os.environ.update({name: path for name, path in given.items() if path})


def _options() -> TyperGroup:
    """A group without commands, with the options of all."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.callback()(_before)
    return typer.main.get_group(app)


class Lazy(TyperGroup):
    """Lists commands from the table and loads the one that is called."""

    def __init__(self) -> None:
        settings = {"help_option_names": ["-h", "--help"]}
        stubs = [entry.stub() for entry in ENTRIES.values()]
        common = _options()
        super().__init__(
            name="tulle",
            help=HELP,
            commands=stubs,
            params=common.params,
            callback=common.callback,
            no_args_is_help=True,
            rich_markup_mode=None,
            context_settings=settings,
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return (name, ENTRIES[name].load(), rest) if name else (name, command, rest)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is the library's
        for section, entries in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(entry.name, entry.help) for entry in entries])


def main() -> None:
    """The program. Exit codes: 0 done, 1 no (violations, differences, a failure), 2 unusable arguments or no control plane."""
    if COMPLETE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    if isinstance(sys.stdout, TextIOWrapper):
        # What is written to a pipe comes in the order in which it was said, errors included.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        Lazy()(prog_name="tulle")
    except Failure as failure:
        from tulle.cli.output import err

        err(f"tulle: {failure}")
        sys.exit(failure.exit_code)


if __name__ == "__main__":
    main()
