"""`tulle control`: the control plane alone."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from tulle.cli.started import settings_from, started


def control(
    store: Annotated[str | None, typer.Option(help="Where documents are kept: sqlite:PATH.")] = None,
    state_dir: Annotated[str | None, typer.Option(help="Folder of the database, where --store says nothing else.")] = None,
    encryption_key_file: Annotated[
        str | None, typer.Option(help="Keys that the database is encrypted with; default: one made beside it.", metavar="FILE")
    ] = None,
    api: Annotated[str | None, typer.Option(help="Address of the HTTP API; default 127.0.0.1:8500.")] = None,
    api_tokens: Annotated[
        str | None, typer.Option(help="Whether the API asks for tokens: required, off, or auto (beyond loopback).")
    ] = None,
    api_tls: Annotated[str | None, typer.Option(help="Whether the API speaks TLS: on, off, or auto (beyond loopback).")] = None,
    api_cert: Annotated[
        str | None, typer.Option(help="Your own certificate for the API, a PEM file; default: one of the mesh's authority.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="The key of that certificate.")] = None,
    xds: Annotated[str | None, typer.Option(help="Address where proxies get their configuration; default 127.0.0.1:15010.")] = None,
    xds_tls: Annotated[
        str | None, typer.Option(help="Whether proxies get it over TLS, as members of the mesh alone: on, off, or auto (beyond loopback).")
    ] = None,
    dns: Annotated[str | None, typer.Option(help="Address where names are answered, or off; default 127.0.0.1:8600.")] = None,
    acl: Annotated[
        str | None,
        typer.Option(help="What Consul's clients may do that no rule speaks of: allow, deny, off, or auto (deny beyond loopback)."),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Suffix of service names; default cluster.local.")] = None,
    root_namespace: Annotated[str | None, typer.Option(help="Namespace of what holds for the whole mesh; default istio-system.")] = None,
    outbound: Annotated[str | None, typer.Option(help="ALLOW_ANY or REGISTRY_ONLY: calls to hosts that the mesh does not know.")] = None,
    datacenter: Annotated[str | None, typer.Option(help="Name of the datacenter that this is; default dc1.")] = None,
    join_wan: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another datacenter's control plane; may be given several times.")
    ] = None,
    trust_domain: Annotated[str | None, typer.Option(help="Of workloads' identities; default: the domain.")] = None,
    ca_dir: Annotated[str | None, typer.Option(help="Folder of your own authority; default: one made beside the database.")] = None,
    join_ca: Annotated[
        str | None, typer.Option(help="Let machines join with certificates of the authority in this PEM file.", metavar="FILE")
    ] = None,
    join_gateway: Annotated[
        list[str] | None,
        typer.Option(help="A workload whose certificates make gateways, too; may be given several times.", metavar="NS/SA"),
    ] = None,
    certificate_life: Annotated[str | None, typer.Option(help="How long a workload's certificate holds; default 24h.")] = None,
    jwt_issuer: Annotated[
        str | None, typer.Option(help="Who workloads' JSON Web Tokens are from, an https URL; default: spiffe://TRUST-DOMAIN.")
    ] = None,
    config_dir: Annotated[str | None, typer.Option(help="Directory of definition files: services and checks of this machine.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
) -> None:
    """Run the control plane alone: it keeps documents and registrations, and tells proxies what to do.

    Every option is also read from the environment: --state-dir from TULLE_STATE_DIR, and so on.

    \b
      tulle control
      tulle control --store sqlite:/var/lib/tulle/tulle.db --log-format json
    """
    from tulle.logs import configure, load_quiet_grpc

    load_quiet_grpc()
    from tulle.control import Control

    options = {
        "store": store,
        "state_dir": state_dir,
        "encryption_key_file": encryption_key_file,
        "api": api,
        "api_tokens": api_tokens,
        "api_tls": api_tls,
        "api_cert": api_cert,
        "api_key": api_key,
        "xds": xds,
        "xds_tls": xds_tls,
        "dns": dns,
        "acl": acl,
        "domain": domain,
        "root_namespace": root_namespace,
        "outbound": outbound,
        "datacenter": datacenter,
        "join_wan": ",".join(join_wan) if join_wan else None,
        "trust_domain": trust_domain,
        "ca_dir": ca_dir,
        "join_ca": join_ca,
        "join_gateway": ",".join(join_gateway) if join_gateway else None,
        "certificate_life": certificate_life,
        "jwt_issuer": jwt_issuer,
        "config_dir": config_dir,
        "log_level": log_level,
        "log_format": log_format,
    }
    settings = settings_from(options)
    configure(settings)

    async def main(stop: asyncio.Event, _hurry: asyncio.Event) -> int:
        await Control(settings, settings.database(os.environ)).run(stop)
        return 0

    sys.exit(started(main))
