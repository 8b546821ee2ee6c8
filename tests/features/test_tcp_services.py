"""PostgreSQL, Redis and MQTT, with their own servers and clients: through a gateway, a sidecar, and over TLS as far as each knows it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from support import real_servers
from support.carried import at
from support.certificates import Ca, Pair, tls_secret
from support.compiled import gateway, sidecar
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import context, program
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

CA = Ca()
HOST = "localhost"
"""The name in certificates: clients that take no other than that of the machine they dial must find it."""
EDGE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: PLAIN, name: tcp, protocol: TCP}, bind: 127.0.0.1, hosts: ["*"]}
  - {port: {number: ENDED, name: ended, protocol: TLS}, bind: 127.0.0.1, hosts: [localhost], tls: {mode: SIMPLE, credentialName: own}}
  - {port: {number: PASSED, name: passed, protocol: TLS}, bind: 127.0.0.1, hosts: [localhost], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [edge]
  tcp: [{route: [{destination: {host: far}}]}]
  tls: [{match: [{sniHosts: [localhost]}], route: [{destination: {host: far}}]}]
---
"""


class Ways:
    """The ports by which a service is reached: plain at a gateway, TLS ended there, TLS passed on, and through the caller's sidecar."""

    def __init__(self) -> None:
        self.plain, self.ended, self.passed, self.sidecar = (free_port() for _ in range(4))


def served(target: int, check: Callable[[Ways], Awaitable[None]]) -> None:
    ways = Ways()
    text = EDGE + tls_secret("own", CA.issue(HOST))
    for word, port in (("PLAIN", ways.plain), ("ENDED", ways.ended), ("PASSED", ways.passed)):
        text = text.replace(word, str(port))
    far = at("far", 5000, target, id="far", protocol=Protocol.TCP)
    caller = sidecar(app="caller", upstreams=(Upstream(host="far", port=5000, bind_port=ways.sidecar),))

    async def whole() -> None:
        async with led_mesh(gateway(), text, far) as edge, led_mesh(caller, "", far) as beside:
            await check(ways)
            assert (edge.rejections, beside.rejections) == ([], [])

    asyncio.run(whole())


def own() -> Pair:
    return CA.issue(HOST)


async def psql(port: int, query: str, **more: str) -> str:
    words = {"host": HOST, "hostaddr": "127.0.0.1", "port": port, "user": "tester", "dbname": "postgres", "connect_timeout": 60, **more}
    code, said = await program("psql", " ".join(f"{k}={v}" for k, v in words.items()), "-XAtqc", query)
    return said.strip() if code == 0 else f"failed: {said}"


def test_postgresql(tmp_path: Path) -> None:
    """Its clients ask for TLS in its own words and then begin it inside of the connection: nobody in between may end it."""
    ca = CA.write(tmp_path)
    how = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"

    async def check(ways: Ways) -> None:
        assert await psql(ways.plain, "create table t (n int)") == ""
        for port in (ways.plain, ways.sidecar):
            assert await psql(port, "insert into t values (1) returning n", sslmode="disable") == "1"
            assert await psql(port, how, sslmode="disable") == "f"
            assert await psql(port, how, sslmode="verify-full", sslrootcert=ca) == "t"
        assert await psql(ways.plain, "select count(*) from t") == "2"
        for port in (ways.ended, ways.passed):
            assert "failed" in await psql(port, "select 1", sslmode="verify-full", sslrootcert=ca)
        assert await asyncio.to_thread(begins_with_tls, ways.ended) == b"R", "clients that begin with TLS get in"

    with real_servers.postgres(own()) as target:
        served(target, check)


def begins_with_tls(port: int) -> bytes:
    """What the server answers to clients with `sslnegotiation=direct` (PostgreSQL 17): the first letter, R for `authentication`."""
    words = b"".join(w.encode() + b"\0" for w in ("user", "tester", "database", "postgres")) + b"\0"
    startup = struct.pack("!ii", 8 + len(words), 3 << 16) + words
    tls = context(CA, alpn=("postgresql",))
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, tls.wrap_socket(plain, server_hostname=HOST) as wrapped:
        wrapped.sendall(startup)
        return wrapped.recv(1)


async def redis_cli(port: int, *words: str) -> str:
    return (await program("redis-cli", "-h", "127.0.0.1", "-p", str(port), *words))[1].strip()


def test_redis(tmp_path: Path) -> None:
    ca = CA.write(tmp_path)

    async def check(ways: Ways) -> None:
        tls = ("--tls", "--sni", HOST, "--cacert", ca)
        for number, (port, more) in enumerate(((ways.plain, ()), (ways.sidecar, ()), (ways.ended, tls))):
            assert await redis_cli(port, *more, "set", "k", f"value {number}") == "OK"
            assert await redis_cli(ways.plain, "get", "k") == f"value {number}"
        refused = await redis_cli(ways.ended, "--tls", "--sni", "other.example.com", "--cacert", ca, "get", "k")
        assert "SSL_connect failed" in refused, "no server there has that name"

    with real_servers.redis() as target:
        served(target, check)


async def heard(port: int, text: str, *more: str) -> str:
    """What a subscriber hears of what another client publishes, both over the same way, with acknowledgements."""
    common = ("-h", HOST, "-p", str(port), "-t", "news", "-q", "1", *more)
    subscribed = asyncio.create_subprocess_exec(
        "stdbuf",
        "-oL",
        "mosquitto_sub",
        *common,
        "-C",
        "1",
        "-W",
        "60",
        "-d",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    process = await subscribed
    assert process.stdout
    async for line in process.stdout:
        if b"SUBACK" in line:
            break
    code, said = await program("mosquitto_pub", *common, "-m", text)
    assert code == 0, said
    rest = (await process.communicate())[0].decode()
    return next((line for line in rest.splitlines() if line == text), rest)


def test_mqtt(tmp_path: Path) -> None:
    ca = CA.write(tmp_path)

    async def check(ways: Ways) -> None:
        for port, more in ((ways.plain, ()), (ways.sidecar, ()), (ways.ended, ("--cafile", ca))):
            assert await heard(port, f"hello by {port}", *more) == f"hello by {port}"

    with real_servers.mosquitto() as target:
        served(target, check)


def test_mqtt_over_tls_of_the_brokers_own(tmp_path: Path) -> None:
    ca = CA.write(tmp_path)

    async def check(ways: Ways) -> None:
        for port in (ways.passed, ways.plain, ways.sidecar):
            assert await heard(port, "hello", "--cafile", ca) == "hello"

    with real_servers.mosquitto(own()) as target:
        served(target, check)
