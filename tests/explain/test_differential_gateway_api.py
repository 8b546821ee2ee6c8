"""Explain against a real Envoy, for documents of the Gateway API: generated Gateways and routes, generated requests.

`TULLE_DIFFERENTIAL=50000` makes a deeper run; `TULLE_SEED=7` repeats one. The seed is printed with every difference.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from support.agreement import Sent, difference, kind
from support.compiled import sidecar
from support.gateway_api import Served, served
from support.generated_gateway_api import SERVICES, Chance
from support.raw_http import Response
from tulle.compile.explain import Request, Trace, explain
from tulle.compile.explain.entry import UnusableRequestError
from tulle.model.routing import INVALID_BACKEND

REQUESTS = int(os.environ.get("TULLE_DIFFERENTIAL", "4000")) // 2
SEED = int(os.environ.get("TULLE_SEED", "20260101"))
EACH = 100
"""Requests for one set of documents."""

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600 + REQUESTS // 20)]


async def scene(seed: int, folder: Path) -> tuple[list[str], Counter[str]]:
    chance = Chance(seed)
    text = chance.documents()
    found, kinds = [], Counter[str]()
    async with served(text, folder, *SERVICES, caller=sidecar(app="caller") if chance.mesh else None) as gate:
        for _ in range(EACH):
            method, url, headers = chance.request()
            try:
                trace = explain(gate.built.mesh, gate.node, Request(method=method, url=url, headers=tuple(headers.items())))
            except UnusableRequestError:
                kinds["no listener"] += 1
                continue
            response = await gate.send(method, url, headers)
            kinds[kind(trace)] += 1
            if what := _differs(gate, response, Sent(method, url, list(headers.items())), trace):
                found.append(f"seed {seed}: {method} {url} {headers}: {what} ({trace.route})\n{text}")
    return found, kinds


def _differs(gate: Served, response: Response, sent: Sent, trace: Trace) -> str | None:
    """The share of a backend that is not valid is answered with 500."""
    shares = {share.name for share in trace.weighted_clusters}
    if INVALID_BACKEND in shares and response.get("x-cluster") is None:
        return None if response.status in (500, 503) else f"answered {response.status}, explained as {shares}"
    return difference(response, sent, trace, gate.ports)


def test_documents_are_explained_as_envoy_acts(tmp_path: Path) -> None:
    found, kinds = [], Counter[str]()
    for number in range(max(1, REQUESTS // EACH)):
        more, seen = asyncio.run(scene(SEED + 3_000_000 + number, tmp_path))
        found += more
        kinds += seen
    total = sum(kinds.values())
    print(f"seed {SEED}: {total} requests: {dict(kinds)}")
    assert not found, f"{len(found)} of {total} differ:\n" + "\n".join(found[:5])
    wanted = ("cluster", "weighted", "redirect", "answer 404", "answer 500")
    assert min(kinds[name] for name in wanted) > total / 200, f"the generator is lopsided: {kinds}"
