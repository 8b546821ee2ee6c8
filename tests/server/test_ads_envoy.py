"""A real Envoy: what it refuses does not harm the rest, and after a restart of the control plane it is told only what it does not know."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from support.eventually import eventually
from support.led_envoy import led_envoy
from support.load import load
from support.raw_http import Client, upstreams
from support.recorder import Recorder
from support.views import cluster, endpoints, host, http_listener, route, table, to, view
from tulle.discovery import CDS, EDS, LDS, RDS
from tulle.discovery.blame import suspects
from tulle.model.proxy import Node, ProxyView, Role
from tulle.model.resource import Key, Source
from tulle.protos import pb
from tulle.server.ads import Ads
from tulle.translate.snapshot import Bundle, Entry, Snapshot, content_hash

pytestmark = pytest.mark.envoy
NODE = Node(id="sidecar~led", role=Role.SIDECAR)
ALL = (CDS, EDS, LDS, RDS)
both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def mesh(port: int, names: list[str]) -> ProxyView:
    return view(
        http_listener("main", "main"),
        table("main", host("*", *(route(f"/{name}", to(name)) for name in names))),
        *(cluster(name) for name in names),
        *(endpoints(name, port) for name in names),
    )


def spoiled(snapshot: Snapshot, type_url: str, name: str, body: bytes) -> Snapshot:
    """The snapshot with another body for one entry."""
    guilty = Source(key=Key(kind="VirtualService", namespace="default", name=f"bad-{name}"))
    entries: list[Entry] = []
    for entry in snapshot:
        bad = (entry.type_url, entry.name) == (type_url, name)
        made = dataclasses.replace(entry, body=body, version=content_hash(body), sources=(*entry.sources, guilty)) if bad else entry
        entries.append(made)
    return Snapshot(bundles=(Bundle.of(entries),))


async def status(client: Client, port: int, path: str) -> int:
    return (await client.send(port, "GET", path, [("host", "any")])).status


@both
def test_one_bad_cluster_among_many_is_named_and_the_others_are_in_force(delta: bool) -> None:
    async def run() -> None:
        async with upstreams("app") as servers:
            few, many = (mesh(servers.ports["app"], [f"c{n}" for n in range(count)]) for count in (5, 100))
            recorder = Recorder(few)
            ads = Ads(recorder, patience=0.1)
            async with ads.serving(["127.0.0.1:0"]) as (port,), led_envoy(NODE, f"127.0.0.1:{port}", delta=delta) as envoy:
                await recorder.until(lambda: bool(recorder.nodes) and recorder.took(*ALL))
                main = await asyncio.to_thread(envoy.port, "main")
                good = recorder.translate(many)
                # A cluster that speaks to its endpoints by a load balancer that is not there.
                body = good.get(CDS, "c3").body + pb_policy()
                recorder.snapshot = spoiled(good, CDS, "c3", body)
                ads.offer(NODE.id, recorder.snapshot)
                await recorder.until(lambda: bool(recorder.rejections) and recorder.took(EDS, LDS, RDS))
                (rejection,) = recorder.rejections
                assert [entry.name for entry in rejection.entries] == ["c3"]
                assert "c3" in rejection.message
                assert suspects(rejection)[0].key.name == "bad-c3"
                client = Client()
                async with asyncio.timeout(60):  # an Envoy that was not patiently waited for may have routes before their clusters
                    while {await status(client, main, f"/c{n}") for n in range(100)} != {200}:
                        pass
                recorder.snapshot = good
                ads.offer(NODE.id, good)
                await recorder.until(lambda: recorder.took(*ALL))
                client.close()

    asyncio.run(run())


def pb_policy() -> bytes:
    """`load_balancing_policy` with an unknown one in it, to be appended to a cluster."""
    unknown = {"name": "nowhere", "typed_config": {"type_url": "type.googleapis.com/no.such.Policy"}}
    return pb.Cluster(load_balancing_policy={"policies": [{"typed_extension_config": unknown}]}).SerializeToString()


@both
def test_a_bad_route_table_is_found_though_envoy_does_not_name_it(delta: bool) -> None:
    async def run() -> None:
        async with upstreams("app") as servers:
            names = [f"t{n}" for n in range(6)]
            before, after = (tables(servers.ports["app"], names, path) for path in ("/before", "/after"))
            recorder = Recorder(before)
            ads = Ads(recorder, patience=0.1)
            async with ads.serving(["127.0.0.1:0"]) as (port,), led_envoy(NODE, f"127.0.0.1:{port}", delta=delta) as envoy:
                await recorder.until(lambda: bool(recorder.nodes) and recorder.took(*ALL))
                ports = {name: await asyncio.to_thread(envoy.port, name) for name in names}
                good = recorder.translate(after)
                recorder.snapshot = spoiled(good, RDS, "t4", good.get(RDS, "t4").body + bad_host())
                ads.offer(NODE.id, recorder.snapshot)
                await recorder.until(lambda: bool(recorder.rejections))
                (rejection,) = recorder.rejections
                assert [entry.name for entry in rejection.entries] == ["t4"]
                client = Client()

                async def found() -> list[tuple[int, int]]:
                    return [(await status(client, ports[name], "/before"), await status(client, ports[name], "/after")) for name in names]

                wanted = [(200, 404) if name == "t4" else (404, 200) for name in names]
                async with asyncio.timeout(60):
                    while await found() != wanted:
                        pass
                client.close()

    asyncio.run(run())


def tables(port: int, names: list[str], path: str) -> ProxyView:
    return view(
        *(http_listener(name, name) for name in names),
        *(table(name, host("*", route(path, to("app")))) for name in names),
        cluster("app"),
        endpoints("app", port),
    )


def bad_host() -> bytes:
    """A second virtual host for every domain, which Envoy does not take."""
    return pb.RouteConfiguration(virtual_hosts=[{"name": "twice", "domains": ["*"]}]).SerializeToString()


@both
def test_a_restarted_control_plane_says_only_what_is_new(delta: bool, tmp_path: Path) -> None:
    async def run() -> None:
        xds = tmp_path / "xds.sock"
        async with upstreams("app", "other") as servers:
            recorder = Recorder(mesh(servers.ports["app"], [f"c{n}" for n in range(50)]))
            async with led_envoy(NODE, str(xds), delta=delta) as envoy:
                first = Ads(recorder)
                async with first.serving([f"unix:{xds}"], grace=0):
                    await recorder.until(lambda: bool(recorder.nodes) and recorder.took(*ALL))
                    main = await asyncio.to_thread(envoy.port, "main")
                changed = mesh(servers.ports["app"], [f"c{n}" for n in range(49)])
                moved = [endpoints("c7", servers.ports["other"]) if g.name == "c7" else g for g in changed.endpoints]
                later = Recorder(view(*changed.listeners, *changed.route_tables, *changed.clusters, *moved))
                second = Ads(later, patience=60, linger=0)
                async with load(main, tuple(f"/c{n}" for n in range(49))) as pulling:
                    async with second.serving([f"unix:{xds}"]):
                        await later.until(lambda: bool(later.nodes) and later.took(*ALL))
                        await eventually(lambda: second.settled(NODE.id))
                        client = Client()
                        assert (await client.send(main, "GET", "/c7", [("host", "any")])).get("x-cluster") == "other"
                        client.close()
                    enough = pulling.requests + 100
                    await eventually(lambda: pulling.requests > enough)
                assert not pulling.failures
                assert not later.rejections
                assert first.counters.bytes > 20_000
                if delta:
                    table_bytes = len(later.snapshot.get(RDS, "main").body)
                    assert second.counters.bytes < table_bytes + 1500

    asyncio.run(run())
