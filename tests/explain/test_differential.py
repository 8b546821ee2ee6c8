"""Explain against a real Envoy: generated route tables, generated requests, and both must say the same.

`TULLE_DIFFERENTIAL=50000` makes a deeper run; `TULLE_SEED=7` repeats one. The seed is printed with every difference.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.generated_routes import CLUSTERS, EMPTY, Chance, Sent
from support.lone_envoy import LoneEnvoy, lone_envoy
from support.raw_http import Client, Response, upstreams
from tulle.compile.explain.outcome import Backends, route
from tulle.compile.explain.request import Wire, joined
from tulle.compile.explain.trace import Rewritten, Trace
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
UNSTABLE = ("x-request-id", "x-envoy-", "x-forwarded-for", "x-forwarded-proto", "connection", "upgrade", "te", "expect")
"""Headers that the proxy writes by itself."""

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600 + REQUESTS // 20)]


@dataclass
class Case:
    table: RouteTable
    edge: bool
    forward_proxy: bool


def case(seed: int) -> Case:
    chance = Chance(seed)
    proxy = chance.maybe(25)
    table = chance.table(f"table-{seed}", tunnels=proxy)
    return Case(table=table, edge=not proxy and chance.maybe(40), forward_proxy=proxy)


def listener(of: Case) -> Listener:
    serve = HttpConnections(stat_prefix="x", routes=of.table, edge=of.edge, forward_proxy=of.forward_proxy)
    chain = FilterChain(name="", serve=serve)
    return Listener(name=of.table.name, address="127.0.0.1", port=0, direction=Direction.OUTBOUND, chains=(chain,))


def wire(sent: Sent, of: Case) -> Wire:
    return Wire(method=sent.method, target=sent.target, headers=tuple(sent.headers), edge=of.edge, proxy=of.forward_proxy)


def clusters(ports: dict[str, int]) -> tuple[Cluster, ...]:
    made = {name: (Endpoint(address="127.0.0.1", port=port),) for name, port in ports.items()}
    return tuple(Cluster(name=name, policy=TrafficPolicy(), endpoints=ends, http=True) for name, ends in {**made, EMPTY: ()}.items())


def changed(response: Response, sent: Sent, trace: Trace) -> str | None:
    """What differs between the answer of the real proxy and the explanation; None where they agree."""
    saw = response.get("x-saw")
    if trace.redirect:
        seen, wanted = (response.status, response.get("location") or ""), (trace.redirect.status, trace.redirect.location)
        return None if seen == wanted else f"redirect {seen}, explained as {wanted}"
    if trace.direct_response or saw is None:
        return _answered(response, sent, trace)
    upstream = json.loads(saw)
    shares = {share.name: share.rewritten for share in trace.weighted_clusters} or {trace.cluster: trace.rewritten}
    if upstream["cluster"] not in shares:
        return f"cluster {upstream['cluster']}, explained as {list(shares)}"
    if sent.method == "CONNECT":
        return None
    return _rewritten(upstream, sent, shares[upstream["cluster"]] or Rewritten())


def answered_with(response: Response, trace: Trace) -> str | None:
    """What the headers of the answer lack of what the route sets."""
    aborted = response.status == 418 or response.get("grpc-message") == "fault filter abort" or response.body == b"fault filter abort"
    if not trace.route or response.status == 101 or aborted:
        return None
    shares = {share.name: share.response_headers for share in trace.weighted_clusters}
    ops = trace.policies.get("response_headers", {}), shares.get(response.get("x-cluster"), {})
    for name, value in (*ops[0].get("set", {}).items(), *ops[0].get("add", ()), *ops[1].get("add", ())):
        later = name in ops[0].get("set", {}) or name in ops[0].get("remove", ())
        if value.replace("%%", "%") not in (response.get(name) or "") and not later:
            return f"answer header {name} is {response.get(name)!r}, explained with {value!r}"
    return None


def _answered(response: Response, sent: Sent, trace: Trace) -> str | None:
    wanted = trace.direct_response
    if wanted is None:
        expected_503 = response.status == 503 and trace.cluster in (EMPTY, "missing")
        grpc = response.get("grpc-status") == "14" and trace.cluster in (EMPTY, "missing")
        upgraded = response.status == 101 and response.get("x-cluster") in (trace.cluster, *(s.name for s in trace.weighted_clusters))
        return None if expected_503 or grpc or upgraded else f"{response.status}, explained as {trace.cluster or trace.weighted_clusters}"
    body = (response.get("grpc-message") or "") if wanted.grpc_status is not None else response.body.decode()
    seen = (response.status, response.get("grpc-status"), body)
    code = None if wanted.grpc_status is None else str(wanted.grpc_status)
    expected = (wanted.status, code, "" if sent.method == "HEAD" and code is None else wanted.body)
    same = seen == expected and response.get("x-saw") is None
    return None if same else f"answered {seen} by {response.get('x-cluster')}, explained as {expected}"


def _rewritten(upstream: dict, sent: Sent, change: Rewritten) -> str | None:
    plain = next((v for k, v in sent.headers if k == "host"), "")
    if change.host is not None and upstream["host"] != change.host:
        return f"host {upstream['host']}, explained as {change.host} from {plain}"
    if change.path is not None and upstream["path"] != change.path:
        return f"path {upstream['path']}, explained as {change.path}"
    return _headers(upstream["headers"], sent, change)


def _headers(seen: list, sent: Sent, change: Rewritten) -> str | None:
    found = joined(tuple((name, value) for name, value in seen))
    expected: dict[str, str | None] = {**joined(tuple((name.lower(), value) for name, value in sent.headers)), **change.headers}
    for name, value in expected.items():
        if name != "host" and not name.startswith(UNSTABLE) and found.get(name) != value:
            return f"header {name} is {found.get(name)!r}, explained as {value!r}"
    return None


def ports_of(running: LoneEnvoy) -> dict[str, int]:
    listed = json.loads(running.get("/listeners?format=json"))["listener_statuses"]
    return {x["name"]: x["local_address"]["socket_address"]["port_value"] for x in listed}


async def compare(cases: list[Case], requests: int, seed: int, folder: Path) -> tuple[list[str], Counter]:
    differences, kinds = [], Counter()
    async with upstreams(*CLUSTERS) as backs:
        listeners = tuple(listener(each) for each in cases)
        view = ProxyView(layers=(Layer(listeners=listeners, clusters=clusters(backs.ports)),))
        backends = Backends.of(view)
        node = Node(id="sidecar~differential", role=Role.SIDECAR)
        with lone_envoy(static_config(Translator().snapshot(view), node), folder) as running:
            ports = ports_of(running)
            for number, each in enumerate(cases):
                client, chance = Client(), Chance(seed + number)
                chance.tunnels = each.forward_proxy
                for _ in range(requests // len(cases) + 1):
                    sent = chance.request(each.table)
                    trace = route(each.table, wire(sent, each), backends)
                    response = await client.send(ports[each.table.name], sent.method, sent.target, sent.headers)
                    kinds[kind(trace)] += 1
                    if difference := changed(response, sent, trace) or answered_with(response, trace):
                        differences.append(f"{each.table.name}{' edge' if each.edge else ''} {sent}: {difference} ({trace.route})")
                client.close()
    return differences, kinds


def kind(trace: Trace) -> str:
    if trace.direct_response:
        return f"answer {trace.direct_response.status}"
    return "redirect" if trace.redirect else "weighted" if trace.weighted_clusters else "cluster"


def test_explain_says_what_envoy_does(tmp_path: Path) -> None:
    print(f"seed {SEED}, {REQUESTS} requests, {TABLES} tables")
    cases = [case(SEED + n) for n in range(TABLES)]
    differences, kinds = [], Counter()
    for start in range(0, TABLES, BATCH):
        batch = cases[start : start + BATCH]
        found, seen = asyncio.run(compare(batch, REQUESTS * len(batch) // TABLES, SEED + start, tmp_path))
        differences += found
        kinds += seen
    print(dict(kinds))
    assert not differences, f"seed {SEED}: {len(differences)} of {sum(kinds.values())} differ:\n" + "\n".join(differences[:25])
    assert kinds["cluster"] > REQUESTS / 5
    assert min(kinds[name] for name in ("weighted", "redirect", "answer 404", "answer 400")) > REQUESTS / 200, "the generator is lopsided"
