"""`tulle translate`."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from tulle.cli.failure import Failure
from tulle.cli.files import Filenames


class Form(StrEnum):
    ENVOY = "envoy"
    XDS = "xds"


def translate(
    filename: Filenames = None,
    node: Annotated[str, typer.Option("--node", metavar="ID|gateway|FILE", help="The proxy that is configured.")] = "gateway",
    form: Annotated[Form, typer.Option("--format", help="One static configuration, or the resources that are streamed.")] = Form.ENVOY,
) -> None:
    """Show the proxy configuration that documents make, offline.

    `--format envoy` prints one static configuration that `envoy --mode validate` accepts; `--format xds` prints the resources as YAML.

    \b
    Examples:
      tulle translate -f config/ --node gateway > envoy.json
      tulle translate -f config/ --node node.yaml --format xds

    --node takes `gateway`, a workload of a mesh file among the files, or a file with a node, such as
    {type: sidecar, namespace: default, labels: {app: web}}.

    Exit codes: 0 done, 1 violations in the files, 2 unusable arguments.
    """
    from tulle.cli.offline import compiled
    from tulle.compile import view
    from tulle.translate import Translator

    offline = compiled(filename or ())
    proxy = offline.node(node, "--node")
    snapshot = Translator().snapshot(view(offline.mesh, proxy))
    if problems := snapshot.problems():
        raise Failure("\n".join(problems), 1)
    _print(form, snapshot, proxy)


def _print(form: Form, snapshot: Any, proxy: Any) -> None:
    if form is Form.ENVOY:
        from tulle.agent.trust import BUNDLES, bundle
        from tulle.translate.static import static_config

        sys.stdout.write(json.dumps(static_config(snapshot, proxy, bundle(os.environ) or BUNDLES[0]), indent=2) + "\n")
        return
    import yaml

    from tulle.translate.static import shown

    entries = ({"type": e.type_url, "name": e.name, "version": e.version, "resource": shown(e)} for e in snapshot)
    yaml.dump_all(entries, sys.stdout, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=140)
