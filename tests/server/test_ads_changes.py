"""200 changes of all kinds under load, led by a real Envoy's stream: no request fails and nothing is refused."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from support.eventually import eventually, soon
from support.led_envoy import led_envoy
from support.load import load
from support.raw_http import Client, upstreams
from support.recorder import Recorder
from support.running import free_port
from support.views import cluster, endpoints, host, http_listener, route, table, to, view
from tulle.discovery import CDS, EDS, LDS, RDS
from tulle.model.proxy import Listener, Node, ProxyView, Role
from tulle.model.traffic import ConnectionPool, TrafficPolicy
from tulle.server.ads import Ads

PATHS = tuple(f"/{n}" for n in range(6))
CHANGES = 200
NODE = Node(id="sidecar~changing", role=Role.SIDECAR)


@dataclass
class Mesh:
    """What the proxy is to do. Every path always has a cluster with an endpoint, so that no request has a reason to fail."""

    servers: dict[str, int]
    dice: random.Random
    routes: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The servers behind each cluster."""
    timeouts: Counter[str] = field(default_factory=Counter)
    extras: dict[str, str] = field(default_factory=dict)
    """Listeners besides the one under load, and the cluster of each."""
    edge: bool = False
    """Of the listener under load."""
    ports: dict[str, int] = field(default_factory=dict)
    """Where the listeners listen. An Envoy mistakes listeners on port 0 for each other, and hands on their sockets."""
    made: int = 0

    def __post_init__(self) -> None:
        for path in PATHS:
            self.routes[path] = self.new_cluster()

    def new_cluster(self) -> str:
        self.made += 1
        name = f"cluster-{self.made}"
        self.clusters[name] = tuple(self.dice.sample(sorted(self.servers), self.dice.randint(1, 2)))
        return name

    def drop_unused(self) -> None:
        used = {*self.routes.values(), *self.extras.values()}
        self.clusters = {name: servers for name, servers in self.clusters.items() if name in used}

    def replace_cluster(self) -> None:
        """A new cluster takes over a path, and the old one goes, in one step."""
        self.routes[self.dice.choice(PATHS)] = self.new_cluster()
        self.drop_unused()

    def move_route(self) -> None:
        self.routes[self.dice.choice(PATHS)] = self.dice.choice(sorted(self.clusters))
        self.drop_unused()

    def change_cluster(self) -> None:
        self.timeouts[self.dice.choice(sorted(self.clusters))] += 1

    def change_endpoints(self) -> None:
        name = self.dice.choice(sorted(self.clusters))
        self.clusters[name] = tuple(self.dice.sample(sorted(self.servers), self.dice.randint(1, len(self.servers))))

    def add_listener(self) -> None:
        self.made += 1
        self.extras[f"extra-{self.made}"] = self.new_cluster()

    def remove_listener(self) -> None:
        if self.extras:
            del self.extras[self.dice.choice(sorted(self.extras))]
        self.drop_unused()

    def change_listener(self) -> None:
        if self.extras:
            self.extras[self.dice.choice(sorted(self.extras))] = self.new_cluster()
        self.drop_unused()

    def change_main(self) -> None:
        self.edge = not self.edge

    def listener(self, name: str, **more: bool) -> Listener:
        if name not in self.ports:
            self.ports[name] = free_port()
        return replace(http_listener(name, name, **more), port=self.ports[name])

    def view(self) -> ProxyView:
        main = table("main", host("*", *(route(path, to(name)) for path, name in self.routes.items())))
        extras = [table(name, host("*", route(None, to(target)))) for name, target in self.extras.items()]
        policies = {
            n: TrafficPolicy(connection_pool=ConnectionPool(connect_timeout=timedelta(seconds=5 + self.timeouts[n]))) for n in self.clusters
        }
        return view(
            self.listener("main", edge=self.edge),
            *(self.listener(name) for name in self.extras),
            main,
            *extras,
            *(cluster(name, policies[name]) for name in self.clusters),
            *(endpoints(name, *(self.servers[s] for s in servers)) for name, servers in self.clusters.items()),
        )


KINDS = (
    Mesh.replace_cluster,
    Mesh.replace_cluster,
    Mesh.move_route,
    Mesh.change_cluster,
    Mesh.change_endpoints,
    Mesh.add_listener,
    Mesh.remove_listener,
    Mesh.change_listener,
    Mesh.change_main,
)


@pytest.mark.envoy
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_no_request_fails_while_everything_changes(delta: bool) -> None:
    asyncio.run(change_under_load(delta))


async def change_under_load(delta: bool) -> None:
    dice = random.Random(7)
    async with upstreams("a", "b", "c") as servers:
        mesh = Mesh(servers.ports, dice)
        recorder = Recorder(mesh.view())
        ads = Ads(recorder, patience=60, linger=0.02)
        async with ads.serving(["127.0.0.1:0"]) as (port,), led_envoy(NODE, f"127.0.0.1:{port}", delta=delta) as envoy:
            await recorder.until(lambda: bool(recorder.nodes) and recorder.took(CDS, EDS, LDS, RDS))
            main = mesh.ports["main"]
            async with load(main, PATHS) as pulling:
                for turn in range(CHANGES):
                    KINDS[turn % len(KINDS)](mesh)
                    recorder.offer(ads, mesh.view())
                    if dice.random() < 0.7:  # else the next change comes into the middle of this one
                        await recorder.until(lambda: recorder.took(CDS, EDS, LDS, RDS))
                    elif dice.random() < 0.5:
                        await asyncio.sleep(dice.random() * 0.004)
                await eventually(lambda: ads.settled(NODE.id))
                enough = max(pulling.requests, 500) + 500
                await eventually(lambda: pulling.requests > enough)
            assert not pulling.failures
            assert not recorder.rejections
            assert ads.counters.nacks == 0
            assert pulling.requests > 1000
            await each_path_goes_where_it_should(mesh, main)

            async def only_those_in_use_are_left() -> bool:
                known = {line.partition("::")[0] for line in (await asyncio.to_thread(envoy.get, "/clusters")).splitlines()}
                return known - {"", "xds-grpc", "tulle-firewall"} == set(mesh.clusters)

            await soon(only_those_in_use_are_left)


async def each_path_goes_where_it_should(mesh: Mesh, port: int) -> None:
    client = Client()
    for path in PATHS:
        response = await client.send(port, "GET", path, [("host", "any")])
        assert response.get("x-cluster") in mesh.clusters[mesh.routes[path]]
    client.close()
