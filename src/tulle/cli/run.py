"""`tulle run`: an application in the mesh, with a sidecar."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated

import typer

from tulle.cli.failure import Failure
from tulle.cli.started import JoinCert, Joining, JoinKey, JoinRoot, JoinTokenFile, Runner, api_of, greeted, member_of, read, started


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The application. {port} in it becomes its port.")],
    service: Annotated[str, typer.Option(help="The service that the application is an instance of.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the service.")] = "default",
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="PORT[:APP]", help="What callers dial, and the application's own port; default: PORT tells it a free one."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="What the ports speak: http, http2, grpc, tcp, udp, or auto: proxies look.")] = "http",
    version: Annotated[str, typer.Option(help="Version label, for subsets.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="More labels.")] = None,
    service_account: Annotated[str, typer.Option(help="Whose name the workload acts in.")] = "default",
    locality: Annotated[str, typer.Option(metavar="REGION/ZONE/SUBZONE", help="Where it runs.")] = "",
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE:PORT=[ADDRESS:]LOCAL",
            help="Reach a service at a local port, whatever protocol it speaks; SERVICE:PORT/udp for UDP.",
        ),
    ] = None,
    address: Annotated[str, typer.Option(help="Address at which other machines reach this workload.")] = "127.0.0.1",
    restart: Annotated[str, typer.Option(help="Start the application again: never, on-failure or always.")] = "never",
    hold: Annotated[float, typer.Option(min=0, help="Seconds that the application waits for its proxy at most.")] = 5.0,
    jwt_audience: Annotated[
        list[str] | None,
        typer.Option(help="Keep a JSON Web Token with its identity, for this audience, where TULLE_JWT_FILE tells.", metavar="NAME"),
    ] = None,
    jwt_file: Annotated[str, typer.Option(help="Where that token is kept; default: a private file.", metavar="FILE")] = "",
    join_token_file: JoinTokenFile = "",
    join_cert: JoinCert = "",
    join_key: JoinKey = "",
    join_root: JoinRoot = "",
    control: Annotated[str, typer.Option(envvar="TULLE_API", help="The control plane's API.")] = "127.0.0.1:8500",
    xds: Annotated[str, typer.Option(envvar="TULLE_XDS", help="Where proxies get their configuration.")] = "127.0.0.1:15010",
    node: Annotated[str, typer.Option(envvar="TULLE_NODE", help="Name of this machine; default: its host name.")] = "",
    run_dir: Annotated[str, typer.Option(envvar="TULLE_RUN_DIR", help="For the files of proxies; default: your runtime directory.")] = "",
) -> None:
    """Run an application in the mesh, with a sidecar.

    The application finds its port in PORT, and other services through the proxy in http_proxy: http://reviews:9080/ just works.
    Ctrl-C takes it out of the mesh without losing a request; a second one hurries. The exit code is the application's.

    \b
      tulle run --service web --port 8080 -- python -m http.server {port}
      tulle run --service reviews --version v2 --port 9080:8000 -- ./reviews
      tulle run --service cart --port 80 --upstream redis:6379=16379 -- node cart.js
    """
    from tulle.agent import options
    from tulle.agent.logs import Prefixed
    from tulle.agent.sidecar import Sidecar
    from tulle.agent.spec import AgentSettings, JwtWish, WorkloadSpec
    from tulle.agent.supervise import Restart
    from tulle.model.identity import Locality

    if jwt_file and not jwt_audience:
        raise Failure("--jwt-file: say with --jwt-audience for whom the token is", 2)
    speaks = read("--protocol", options.protocol, protocol)
    spec = WorkloadSpec(
        id="-".join(part for part in (service, version, secrets.token_hex(3)) if part),
        service=service,
        namespace=namespace,
        version=version,
        labels=read("--label", options.labels, label or []),
        ports=tuple(read("--port", lambda text: options.workload_port(text, speaks), text) for text in port or []),
        command=tuple(command),
        service_account=service_account,
        locality=Locality.parse(locality),
        upstreams=tuple(read("--upstream", options.upstream, text) for text in upstream or []),
        jwt=JwtWish(audiences=tuple(jwt_audience), path=jwt_file) if jwt_audience else None,
        address=address,
        restart=read("--restart", Restart, restart),
    )
    read("tulle run", lambda checked: checked.check(), spec)
    api = api_of(control)
    machine = options.machine(node, api)
    settings = AgentSettings(xds=xds, api=api, node=machine, run_dir=run_dir, hold=hold, sink=Prefixed(sys.stdout))

    def work(admitted: AgentSettings) -> Runner:
        sidecar = Sidecar(spec, admitted)
        return lambda stop, hurry: greeted(sidecar.run(stop, hurry), sidecar.ready, lambda: f"{spec.id} is in the mesh")

    joining = Joining(token_file=join_token_file, certificate=join_cert, key=join_key, root=join_root)
    sys.exit(started(member_of(settings, f"{namespace}/{service_account}", joining, work)))
