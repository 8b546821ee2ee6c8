"""`tulle gateway`: where traffic from outside enters."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tulle.cli.started import JoinCert, Joining, JoinKey, JoinRoot, JoinTokenFile, Runner, api_of, greeted, member_of, read, started


def gateway(
    name: Annotated[str, typer.Option(help="Its name among the gateways; its node is gateway~NAME.")] = "ingressgateway",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the gateway's workload.")] = "istio-system",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help="Labels that Gateway documents select; default: istio=ingressgateway."),
    ] = None,
    bind: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to other machines.")] = "127.0.0.1",
    concurrency: Annotated[int, typer.Option(min=0, help="Worker threads; 0 for one per core.")] = 0,
    service_account: Annotated[str, typer.Option(help="Whose name it acts in.")] = "default",
    join_token_file: JoinTokenFile = "",
    join_cert: JoinCert = "",
    join_key: JoinKey = "",
    join_root: JoinRoot = "",
    control: Annotated[str, typer.Option(envvar="TULLE_API", help="The control plane's API.")] = "127.0.0.1:8500",
    xds: Annotated[str, typer.Option(envvar="TULLE_XDS", help="Where proxies get their configuration.")] = "127.0.0.1:15010",
    node: Annotated[str, typer.Option(envvar="TULLE_NODE", help="Name of this machine; default: its host name.")] = "",
    run_dir: Annotated[str, typer.Option(envvar="TULLE_RUN_DIR", help="For the files of proxies; default: your runtime directory.")] = "",
    drain: Annotated[float, typer.Option(min=0, help="Seconds in which callers still connected are served at the end.")] = 2.0,
) -> None:
    """Run a gateway: where traffic from outside enters.

    It serves what Gateway documents that select its labels say. Without the right to bind ports below 1024 it serves those 8000 higher.

    \b
      tulle gateway
      tulle gateway --bind 0.0.0.0 --name edge --label istio=edge
    """
    from tulle.agent import options
    from tulle.agent.gateway import DEFAULT_LABELS, GatewayProxy, GatewaySpec
    from tulle.agent.logs import Prefixed
    from tulle.agent.spec import AgentSettings

    labels = read("--label", options.labels, label) if label else DEFAULT_LABELS
    spec = GatewaySpec(name=name, namespace=namespace, labels=labels, bind=bind, service_account=service_account)
    api = api_of(control)
    settings = AgentSettings(
        xds=xds,
        api=api,
        node=options.machine(node, api),
        run_dir=run_dir,
        concurrency=concurrency,
        drain=drain,
        sink=Prefixed(sys.stdout),
    )
    proxy = GatewayProxy(spec, settings)
    if not proxy.node.privileged_ports:
        sys.stderr.write("tulle: without the right to bind ports below 1024, those are served 8000 higher: 80 on 8080, 443 on 8443\n")

    def work(admitted: AgentSettings) -> Runner:
        proxy.settings = admitted
        return lambda stop, hurry: greeted(proxy.run(stop, hurry), proxy.ready, lambda: f"{proxy.node.id} is in the mesh")

    joining = Joining(token_file=join_token_file, certificate=join_cert, key=join_key, root=join_root)
    sys.exit(started(member_of(settings, f"{namespace}/{service_account}", joining, work)))
