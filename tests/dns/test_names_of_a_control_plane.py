"""Names as a running control plane answers them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import pytest

from support.running import TULLE, Place, running
from support.zones import code, query, texts
from tulle.settings import Address, SettingsError, read_settings

VIP = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {clusterIP: 10.96.0.5, selector: {app: shop}, ports: [{name: http, port: 80}]}
"""


async def ask(place: Place, name: str, type_: str = "A") -> dns.message.Message:
    return await dns.asyncquery.udp(query(name, type_), "127.0.0.1", port=place.dns, timeout=60)


async def until(place: Place, name: str, holds: Callable[[dns.message.Message], bool]) -> dns.message.Message:
    """Documents and registrations come into force a moment after they are taken."""
    async with asyncio.timeout(60):
        while not holds(answer := await ask(place, name)):  # noqa: ASYNC110 - nobody tells when it has come into force
            await asyncio.sleep(0.01)
    return answer


async def put(place: Place, id_: str, **registration: object) -> None:
    body = json.dumps(registration).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", place.api)
    head = f"PUT /api/v1/registrations/{id_}?ttl=600s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len(body)}"
    writer.write(f"{head}\r\n\r\n".encode() + body)
    assert b" 200 " in (await reader.read()).splitlines()[0]
    writer.close()


def test_what_registers_has_a_name(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            assert code(await ask(place, "reviews.service.consul")) == "NXDOMAIN"
            await put(place, "r-1", service="reviews", ports=[{"number": 9080, "target": 31001}], labels={"version": "v1"})
            await put(place, "r-2", service="reviews", ports=[{"number": 9080, "target": 31002}], health="critical")
            found = await until(place, "reviews.service.consul", lambda answer: bool(answer.answer))
            assert texts(found.answer) == ["A 127.0.0.1"]
            assert texts((await ask(place, "_reviews._tcp.service.consul", "SRV")).answer) == ["SRV 1 1 31001 7f000001.addr.dc1.consul."]
            assert texts((await ask(place, "v1.reviews.service.consul")).answer) == ["A 127.0.0.1"]
            found = await until(place, "reviews.default.svc.cluster.local", lambda answer: bool(answer.answer))
            assert texts(found.answer) == ["A 127.0.0.1"]
            await put(place, "r-1", service="reviews", ports=[{"number": 9080, "target": 31001}], health="critical")
            await until(place, "reviews.service.consul", lambda answer: code(answer) == "NXDOMAIN")
            assert await place.tulle("apply", "-f", str(place.write("vip.yaml", VIP)))
            found = await until(place, "shop.default.svc.cluster.local", lambda answer: bool(answer.answer))
            assert texts(found.answer) == ["A 10.96.0.5"]
            over_tcp = await dns.asyncquery.tcp(query("shop.default.svc.cluster.local"), "127.0.0.1", port=place.dns, timeout=60)
            assert texts(over_tcp.answer) == ["A 10.96.0.5"]

    asyncio.run(main())


def test_the_first_question_may_come_over_tcp(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            answer = await dns.asyncquery.tcp(query("consul", "SOA"), "127.0.0.1", port=place.dns, timeout=60)
            assert texts(answer.answer)[0].startswith("SOA ns.consul.")

    asyncio.run(main())


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path) -> None:
    place = Place(folder=tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", place.dns))
        done = subprocess.run([TULLE, "control"], env=place.environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{place.dns} for DNS" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings() -> None:
    assert read_settings({}).dns == Address(host="127.0.0.1", port=8600)
    assert not read_settings({}).dns_required
    assert read_settings({"TULLE_DNS": "off"}).dns is None
    chosen = read_settings(
        {"TULLE_DNS_RECURSORS": "192.0.2.1, [2001:db8::1]:5353", "TULLE_DNS_SERVICE_TTL": "Web=5,db*=10"}, {"dns": ":53"}
    )
    assert (chosen.dns, chosen.dns_required) == (Address(host="127.0.0.1", port=53), True)
    assert chosen.dns_recursors == (Address(host="192.0.2.1", port=53), Address(host="2001:db8::1", port=5353))
    assert chosen.dns_service_ttl == (("web", 5), ("db*", 10))
    with pytest.raises(SettingsError, match=r"(?s)dns-recursors.*dns-node-ttl.*dns-service-ttl.*dns-truncate"):
        read_settings(
            {"TULLE_DNS_RECURSORS": "nonsense", "TULLE_DNS_NODE_TTL": "-1", "TULLE_DNS_SERVICE_TTL": "web", "TULLE_DNS_TRUNCATE": "perhaps"}
        )
