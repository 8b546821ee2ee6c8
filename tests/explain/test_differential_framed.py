"""Explain against a real Envoy, for requests by HTTP/2 and HTTP/3: the same tables and requests as for HTTP/1.1, in other frames.

`TULLE_FRAMED=20000` makes a deeper run; `TULLE_SEED=7` repeats one. The seed is printed with every difference.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.agreement import Sent, difference, kind
from support.certificates import Ca
from support.exchange import Exchange
from support.generated_routes import CLUSTERS, EMPTY, Chance
from support.http2_client import Http2, http2
from support.http3_client import Http3, http3
from support.lone_envoy import LoneEnvoy, lone_envoy
from support.raw_http import Upstreams, upstreams
from support.running import free_port
from tulle.compile.explain.outcome import Backends, route
from tulle.compile.explain.request import Wire
from tulle.compile.explain.trace import Trace
from tulle.model.proxy import Cluster, Direction, FilterChain, HttpConnections, Layer, Listener, Node, ProxyView, Role
from tulle.model.routing import RouteTable
from tulle.model.service import Endpoint
from tulle.model.tls import DownstreamTls
from tulle.model.traffic import TrafficPolicy
from tulle.translate import Translator
from tulle.translate.static import static_config

REQUESTS = int(os.environ.get("TULLE_FRAMED", "1200"))
SEED = int(os.environ.get("TULLE_SEED", "20260101"))
TABLES = max(40, REQUESTS // 60)
NODE = Node(id="gateway~differential", role=Role.GATEWAY)
ODD: tuple[tuple[str, str], ...] = (
    ("X-Upper", "1"),
    ("connection", "close"),
    ("te", "gzip"),
    ("te", "trailers"),
    ("transfer-encoding", "chunked"),
    ("keep-alive", "1"),
    ("x-a", "a\tb"),
    ("x-a", "a\x01b"),
    ("cookie", "a=1"),
    ("bad name", "1"),
)

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600 + REQUESTS // 10)]


class Case:
    """A table behind a listener of one version, and its requests."""

    def __init__(self, seed: int, version: int) -> None:
        self.chance = Chance(seed)
        self.version = version
        self.table: RouteTable = self.chance.table(f"table-{version}-{seed}")
        self.edge = version == 3 or self.chance.maybe(40)

    @property
    def listener(self) -> Listener:
        serve = HttpConnections(stat_prefix="x", routes=self.table, edge=self.edge)
        tls = DownstreamTls(certificates=("own",), protocols=("h3",)) if self.version == 3 else None
        chain = FilterChain(name="", serve=serve, tls=tls)
        quic = self.version == 3
        return Listener(
            name=self.table.name,
            address="127.0.0.1",
            port=free_port() if quic else 0,  # where many listeners ask for any port of datagrams, two may be given the same
            direction=Direction.OUTBOUND,
            chains=(chain,),
            udp=quic,
            quic=quic,
        )

    def ask(self) -> Sent:
        """A request of the generator, as clients of this version would send it; now and then with what has no place in it."""
        sent = self.chance.request(self.table)
        target = sent.target
        headers = [(name.lower(), value) for name, value in sent.headers if (name.lower(), value) != ("cookie", "")]
        if sent.method == "CONNECT":
            return Sent(method="CONNECT", target="", headers=[("host", target)])
        if target.startswith("http"):
            url = urlsplit(target)
            headers = [("host", url.netloc), *(h for h in headers if h[0] != "host")]
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        if self.chance.maybe(5):
            headers.append(self.chance.one(ODD))
        method = self.chance.one(("get", "FOO", "A B")) if self.chance.maybe(2) else sent.method
        # The client of HTTP/3 takes an answer to HEAD with a length for one that lacks its body.
        return Sent(method="GET" if method == "HEAD" and self.version == 3 else method, target=target, headers=headers)

    def explain(self, sent: Sent, backends: Backends) -> Trace:
        wire = Wire(
            method=sent.method, target=sent.target, headers=tuple(sent.headers), edge=self.edge, tls=self.version == 3, version=self.version
        )
        return route(self.table, wire, backends)

    def fields(self, sent: Sent) -> list[tuple[str, str]]:
        """What goes over the wire. An upgrade is an extended CONNECT."""
        host = next(value for name, value in sent.headers if name == "host")
        upgrade = next((value for name, value in sent.headers if name == "upgrade"), "")
        rest = [h for h in sent.headers if h[0] != "host" and not (upgrade and h[0] in ("connection", "upgrade"))]
        scheme = "https" if self.version == 3 else "http"
        if sent.method == "CONNECT":
            return [(":method", "CONNECT"), (":authority", host), *rest]
        if upgrade:
            extended = [(":method", "CONNECT"), (":protocol", upgrade)]
            return [*extended, (":scheme", scheme), (":authority", host), (":path", sent.target), *rest]
        return [(":method", sent.method), (":scheme", scheme), (":authority", host), (":path", sent.target), *rest]


class Callers:
    """A connection for each listener, and a new one where the last was closed."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports
        self._stacks: list[AsyncExitStack] = []
        self._open: dict[str, Http2 | Http3] = {}

    async def send(self, case: Case, fields: list[tuple[str, str]], *, upgrade: bool) -> Exchange:
        name = case.table.name
        if name not in self._open or self._open[name].closed:
            port = self._ports[name]
            self._stacks.append(AsyncExitStack())
            self._open[name] = await self._stacks[-1].enter_async_context(http3(port, "a.test") if case.version == 3 else http2(port))
        _, exchange = self._open[name].begin(fields)
        return await exchange.until(lambda e: upgrade and e.status > 0)

    async def close(self) -> None:
        for stack in self._stacks:
            await stack.aclose()


def with_files(config: Any, pair: tuple[str, str]) -> Any:
    """The secrets, which are only named in what is shown, as files."""
    if isinstance(config, list):
        return [with_files(one, pair) for one in config]
    if not isinstance(config, dict):
        return config
    made = {name: with_files(value, pair) for name, value in config.items() if name != "tls_certificate_sds_secret_configs"}
    if len(made) < len(config):
        made["tls_certificates"] = [{"certificate_chain": {"filename": pair[0]}, "private_key": {"filename": pair[1]}}]
    return made


def ports_of(running: LoneEnvoy) -> dict[str, int]:
    listed = json.loads(running.get("/listeners?format=json"))["listener_statuses"]
    return {x["name"]: x["local_address"]["socket_address"]["port_value"] for x in listed}


def disagreement(answer: Exchange, sent: Sent, trace: Trace, backs: Upstreams) -> str | None:
    if trace.closed:
        return None if not answer.status else f"answered {answer.status}, explained as closed: {trace.closed}"
    if not answer.status:
        return f"closed ({answer.reset}), explained as {kind(trace)}"
    cookies = "; ".join(value for name, value in sent.headers if name == "cookie").removeprefix("; ").strip()
    headers = [h for h in sent.headers if h[0] != "cookie"] + ([("cookie", cookies)] if cookies else [])
    return difference(answer, replace(sent, headers=headers), trace, backs.ports)  # type: ignore[arg-type]


async def differences(cases: list[Case], each: int, folder: Path) -> tuple[list[str], Counter[str]]:
    found, kinds = [], Counter[str]()
    async with upstreams(*CLUSTERS) as backs:
        made = {name: (Endpoint(address="127.0.0.1", port=port),) for name, port in backs.ports.items()}
        clusters = tuple(Cluster(name=n, policy=TrafficPolicy(), endpoints=ends, http=True) for n, ends in {**made, EMPTY: ()}.items())
        view = ProxyView(layers=(Layer(listeners=tuple(case.listener for case in cases), clusters=clusters),))
        backends = Backends.of(ProxyView(layers=(Layer(clusters=clusters),)))
        config = with_files(static_config(Translator().snapshot(view), NODE), Ca().issue("a.test").write(folder, "own"))
        with lone_envoy(config, folder) as running:
            callers = Callers(ports_of(running))

            async def one(case: Case) -> None:
                for _ in range(each):
                    sent = case.ask()
                    trace = case.explain(sent, backends)
                    answer = await callers.send(case, case.fields(sent), upgrade=any(name == "upgrade" for name, _ in sent.headers))
                    kinds["closed" if trace.closed else kind(trace)] += 1
                    if what := disagreement(answer, sent, trace, backs):
                        found.append(f"HTTP/{case.version} {case.table.name} {sent}: {what} ({trace.route})")

            try:
                # Side by side: the proxy takes a second to close a connection that it gives up.
                await asyncio.gather(*map(one, cases))
            finally:
                await callers.close()
    return found, kinds


@pytest.mark.parametrize("version", [2, 3])
def test_framed_requests_are_explained_as_envoy_acts(version: int, tmp_path: Path) -> None:
    cases = [Case(SEED + 5_000_000 + number, version) for number in range(TABLES // 2)]
    found, kinds = asyncio.run(differences(cases, REQUESTS // TABLES, tmp_path))
    total = sum(kinds.values())
    print(f"seed {SEED}: {total} requests by HTTP/{version}: {dict(kinds)}")
    assert not found, f"seed {SEED}: {len(found)} of {total} differ:\n" + "\n".join(found[:25])
    assert min(kinds[name] for name in ("cluster", "weighted", "redirect", "answer 404", "closed")) > total / 200, f"lopsided: {kinds}"
