"""Documents in the shapes in which the samples of these applications are published apply as they stand, and do what they are known for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from support.shell import alone
from tulle.agent.ports import may_bind_low
from tulle.demo import bookshop
from tulle.demo.apps.http import Headers
from tulle.demo.odds import bounds
from tulle.demo.ports import Ports, choose
from tulle.demo.process import Mesh, running_mesh
from tulle.demo.traffic import Traffic

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("ports")]

PUBLISHED = (Path(__file__).parent / "published" / "bookinfo.yaml").read_text()
JASON: Headers = (("end-user", "jason"),)


def service(api_version: str, host: str, http: str) -> str:
    """A VirtualService of the usual form: named after its host."""
    head = f"apiVersion: networking.istio.io/{api_version}\nkind: VirtualService\nmetadata:\n  name: {host}\n"
    return f"{head}spec:\n  hosts:\n  - {host}\n  http:\n{http}"


def route(host: str, subset: str, weight: int | None = None) -> str:
    share = "" if weight is None else f"      weight: {weight}\n"
    return f"    - destination:\n        host: {host}\n        subset: {subset}\n{share}"


ALL_V1 = "---\n".join(service("v1", host, f"  - route:\n{route(host, 'v1')}") for host in ("productpage", "reviews", "ratings", "details"))
MATCH = "  - match:\n    - headers:\n        end-user:\n          exact: jason\n"
REVIEWS_TEST_V2 = service("v1alpha3", "reviews", f"{MATCH}    route:\n{route('reviews', 'v2')}  - route:\n{route('reviews', 'v1')}")
REVIEWS_50_V3 = service("v1beta1", "reviews", f"  - route:\n{route('reviews', 'v1', 50)}{route('reviews', 'v3', 50)}")
REVIEWS_JASON_V2_V3 = service("v1", "reviews", f"{MATCH}    route:\n{route('reviews', 'v2')}  - route:\n{route('reviews', 'v3')}")
DELAY = "    fault:\n      delay:\n        percentage:\n          value: 100.0\n        fixedDelay: 7s\n"
RATINGS_DELAY = service("v1", "ratings", f"{MATCH}{DELAY}    route:\n{route('ratings', 'v1')}  - route:\n{route('ratings', 'v1')}")
ABORT = "    fault:\n      abort:\n        percentage:\n          value: 100.0\n        httpStatus: 500\n"
RATINGS_ABORT = service("v1", "ratings", f"{MATCH}{ABORT}    route:\n{route('ratings', 'v1')}  - route:\n{route('ratings', 'v1')}")
HELLOWORLD = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: helloworld-gateway
spec:
  selector:
    istio: ingressgateway # use istio default controller
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: helloworld
spec:
  hosts:
  - "*"
  gateways:
  - helloworld-gateway
  http:
  - match:
    - uri:
        exact: /hello
    route:
    - destination:
        host: helloworld
        port:
          number: 5000
"""
TCP_ECHO = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: tcp-echo-gateway
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 31400
      name: tcp
      protocol: TCP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: tcp-echo-destination
spec:
  host: tcp-echo
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: tcp-echo
spec:
  hosts:
  - "*"
  gateways:
  - tcp-echo-gateway
  tcp:
  - match:
    - port: 31400
    route:
    - destination:
        host: tcp-echo
        port:
          number: 9000
        subset: v1
      weight: 80
    - destination:
        host: tcp-echo
        port:
          number: 9000
        subset: v2
      weight: 20
"""


@pytest.fixture(autouse=True)
def named_ports() -> Iterator[None]:
    """The documents name their ports."""
    with alone((80, 8080, 31400)):
        yield


@asynccontextmanager
async def mesh() -> AsyncIterator[tuple[Mesh, Traffic]]:
    """The bookshop with the published bookinfo documents in force, and its gateway."""
    ports, _ = choose(Ports(api=0, xds=0))
    async with running_mesh(replace(ports, gateway=8080), asyncio.Event()) as running:
        await running.until_ready(bookshop.instances(), lambda _what, _there: None)
        await running.api.apply({"bookinfo.yaml": PUBLISHED})
        gateway = Traffic(running.gateway)
        try:
            yield running, gateway
        finally:
            gateway.close()


async def versions(gateway: Traffic, number: int, headers: Headers = ()) -> Counter[str]:
    """Who served the reviews, by version."""
    samples = await gateway.many(number, "/api/v1/products/0/reviews", headers)
    return Counter(json.loads(sample.answer.body)["podname"].split("-")[1] for sample in samples)


async def echoes(number: int) -> Counter[str]:
    """The first words of what the TCP echo sends back, over connections of their own."""
    words: Counter[str] = Counter()
    for _ in range(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", 31400)
        writer.write(b"hello\n")
        words[(await reader.readline()).decode().split()[0]] += 1
        writer.close()
    return words


def test_bookinfo_documents() -> None:
    async def walk() -> None:
        async with mesh() as (running, gateway):
            assert set(await versions(gateway, 60)) == {"v1", "v2", "v3"}
            await running.api.apply({"virtual-service-all-v1.yaml": ALL_V1})
            assert await versions(gateway, 20) == {"v1": 20}
            await running.api.apply({"virtual-service-reviews-test-v2.yaml": REVIEWS_TEST_V2})
            assert (await versions(gateway, 20), await versions(gateway, 20, JASON)) == ({"v1": 20}, {"v2": 20})

            await running.api.apply({"virtual-service-ratings-test-delay.yaml": RATINGS_DELAY})
            slow = await gateway.one("/productpage", JASON)
            assert "Sorry, product reviews are currently unavailable for this book." in slow.text
            assert slow.seconds > 5.9, "productpage tries twice for three seconds"
            assert (await gateway.one("/productpage")).seconds < slow.seconds

            await running.api.apply({"virtual-service-ratings-test-abort.yaml": RATINGS_ABORT})
            assert (await gateway.one("/productpage", JASON)).text.count("Ratings service is currently unavailable") == 2
            assert "unavailable" not in (await gateway.one("/productpage")).text

            await running.api.apply({"virtual-service-reviews-50-v3.yaml": REVIEWS_50_V3})
            split = await versions(gateway, 200)
            low, high = bounds(200, 0.5, 1e-7)
            assert set(split) == {"v1", "v3"}
            assert low <= split["v3"] <= high
            await running.api.apply({"virtual-service-reviews-jason-v2-v3.yaml": REVIEWS_JASON_V2_V3})
            assert (await versions(gateway, 10), await versions(gateway, 10, JASON)) == ({"v3": 10}, {"v2": 10})

    asyncio.run(walk())


async def first_answer(traffic: Traffic, path: str) -> str:
    """Of a listener that a proxy has just acknowledged: its worker threads open the port a moment later."""
    async with asyncio.timeout(60):
        while not (sample := await traffic.one(path)).answer.status:  # noqa: ASYNC110 - there is nobody to set an event
            await asyncio.sleep(0.01)
    return sample.text


async def first_echo() -> None:
    """As `first_answer`."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError, IndexError):
                await echoes(1)
                return
            await asyncio.sleep(0.01)


def test_helloworld_and_tcp_echo_documents() -> None:
    async def walk() -> None:
        async with mesh() as (running, gateway):
            await running.api.apply({"helloworld-gateway.yaml": HELLOWORLD})
            port = 80 if may_bind_low("127.0.0.1") else 8080
            other = Traffic(f"http://127.0.0.1:{port}")
            assert (await first_answer(other, "/hello")).startswith("Hello version: v")
            other.close()
            assert (await gateway.one("/productpage")).answer.status == 200, "the gateway that was there goes on"

            await running.api.apply({"tcp-echo.yaml": TCP_ECHO})
            await first_echo()
            low, high = bounds(100, 0.2, 1e-7)
            words = await echoes(100)
            assert set(words) == {"one", "two"}
            assert low <= words["two"] <= high

    asyncio.run(walk())
