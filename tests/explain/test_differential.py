"""Explain against a real Envoy: generated rules, generated requests, and both must say the same.

Once from route tables, which reach every corner of the model, and once from documents, through the whole chain. `TULLE_DIFFERENTIAL=50000`
makes a deeper run; `TULLE_SEED=7` repeats one. The seed is printed with every difference.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.agreement import Sent, difference, kind
from support.generated_documents import UPSTREAMS, Rules, Scene, merged, mesh_of, scene
from support.generated_routes import CLUSTERS, EMPTY, Chance
from support.lone_envoy import LoneEnvoy, lone_envoy
from support.raw_http import Client, Upstreams, upstreams
from tulle.compile.explain.outcome import Backends, route
from tulle.compile.explain.request import Wire
from tulle.compile.explain.trace import Trace
from tulle.model.proxy import Cluster, Direction, FilterChain, HttpConnections, Layer, Listener, Node, ProxyView, Role
from tulle.model.routing import RouteTable
from tulle.model.service import Endpoint
from tulle.model.traffic import TrafficPolicy
from tulle.translate import Translator
from tulle.translate.static import static_config

REQUESTS = int(os.environ.get("TULLE_DIFFERENTIAL", "4000"))
SEED = int(os.environ.get("TULLE_SEED", "20260101"))
TABLES = max(160, REQUESTS // 60)
BATCH = 400
"""Tables in one Envoy."""
NODE = Node(id="sidecar~differential", role=Role.SIDECAR)

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600 + REQUESTS // 20)]


@dataclass
class Case:
    """A listener, how requests for it are made, and what is explained of them."""

    listener: Listener
    ask: Callable[[], Sent]
    explain: Callable[[Sent], Trace]


def ports_of(running: LoneEnvoy) -> dict[str, int]:
    listed = json.loads(running.get("/listeners?format=json"))["listener_statuses"]
    return {x["name"]: x["local_address"]["socket_address"]["port_value"] for x in listed if "socket_address" in x["local_address"]}


async def differences(view: ProxyView, cases: list[Case], each: int, backs: Upstreams, folder: Path) -> tuple[list[str], Counter]:
    found, kinds = [], Counter()
    with lone_envoy(static_config(Translator().snapshot(view), NODE), folder) as running:
        ports = ports_of(running)
        for case in cases:
            client = Client()
            for _ in range(each):
                sent = case.ask()
                trace = case.explain(sent)
                response = await client.send(ports[case.listener.name], sent.method, sent.target, sent.headers)
                kinds[kind(trace)] += 1
                if what := difference(response, sent, trace, backs.ports):
                    found.append(f"{case.listener.name} {sent}: {what} ({trace.route})")
            client.close()
    return found, kinds


def judge(found: list[str], kinds: Counter, wanted: tuple[str, ...]) -> None:
    total = sum(kinds.values())
    print(f"seed {SEED}: {total} requests: {dict(kinds)}")
    assert not found, f"seed {SEED}: {len(found)} of {total} differ:\n" + "\n".join(found[:25])
    assert min(kinds[name] for name in wanted) > total / 200, f"the generator is lopsided: {kinds}"


def table_case(seed: int, backends: Backends) -> Case:
    chance = Chance(seed)
    proxy = chance.maybe(25)
    table = chance.table(f"table-{seed}", tunnels=proxy)
    edge = not proxy and chance.maybe(40)

    def explain(sent: Sent) -> Trace:
        wire = Wire(method=sent.method, target=sent.target, headers=tuple(sent.headers), edge=edge, proxy=proxy)
        return route(table, wire, backends)

    return Case(listener=_listener(table, edge=edge, proxy=proxy), ask=lambda: chance.request(table), explain=explain)


def _listener(table: RouteTable, *, edge: bool, proxy: bool) -> Listener:
    serve = HttpConnections(stat_prefix="x", routes=table, edge=edge, forward_proxy=proxy)
    chain = FilterChain(name="", serve=serve)
    return Listener(name=table.name, address="127.0.0.1", port=0, direction=Direction.OUTBOUND, chains=(chain,))


def _clusters(ports: dict[str, int]) -> tuple[Cluster, ...]:
    made = {name: (Endpoint(address="127.0.0.1", port=port),) for name, port in ports.items()}
    return tuple(Cluster(name=name, policy=TrafficPolicy(), endpoints=ends, http=True) for name, ends in {**made, EMPTY: ()}.items())


async def tables(seeds: range, each: int, folder: Path) -> tuple[list[str], Counter]:
    async with upstreams(*CLUSTERS) as backs:
        clusters = _clusters(backs.ports)
        backends = Backends.of(ProxyView(layers=(Layer(clusters=clusters),)))
        cases = [table_case(seed, backends) for seed in seeds]
        view = ProxyView(layers=(Layer(listeners=tuple(case.listener for case in cases), clusters=clusters),))
        return await differences(view, cases, each, backs, folder)


def test_route_tables_are_explained_as_envoy_acts(tmp_path: Path) -> None:
    found, kinds = [], Counter()
    for start in range(0, TABLES, BATCH):
        seeds = range(SEED + start, SEED + min(start + BATCH, TABLES))
        more, seen = asyncio.run(tables(seeds, REQUESTS // TABLES, tmp_path))
        found += more
        kinds += seen
    judge(found, kinds, ("cluster", "weighted", "redirect", "answer 404", "answer 400"))


def scene_case(one: Scene, own: ProxyView, listener: Listener, backends: Backends) -> Case:
    """The answers come from the scene's own view, the requests go to its listener in the merged one."""
    asking = Rules(one.seed, one.name)
    chain = listener.chains[0].serve
    assert isinstance(chain, HttpConnections)
    assert isinstance(chain.routes, RouteTable)
    table, edge, proxy = chain.routes, chain.edge, chain.forward_proxy

    def explain(sent: Sent) -> Trace:
        wire = Wire(method=sent.method, target=sent.target, headers=tuple(sent.headers), edge=edge, proxy=proxy)
        return route(table, wire, backends)

    return Case(listener=listener, ask=lambda: asking.ask(one), explain=explain)


async def documents(numbers: range, each: int, folder: Path) -> tuple[list[str], Counter]:
    scenes = [scene(SEED + 1_000_000 + number, place) for place, number in enumerate(numbers)]
    async with upstreams(*UPSTREAMS) as backs:
        view, own = merged(scenes, mesh_of(scenes, backs.ports))
        listeners = {x.name: x for x in view.listeners}
        cases = [scene_case(one, own[one.name], listeners[one.name], Backends.of(own[one.name])) for one in scenes]
        return await differences(view, cases, each, backs, folder)


def test_documents_are_explained_as_envoy_acts(tmp_path: Path) -> None:
    found, kinds = [], Counter()
    for start in range(0, TABLES, BATCH):
        more, seen = asyncio.run(documents(range(start, min(start + BATCH, TABLES)), REQUESTS // TABLES, tmp_path))
        found += more
        kinds += seen
    judge(found, kinds, ("cluster", "weighted", "redirect", "answer 404"))
