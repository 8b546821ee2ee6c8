"""Requests that nobody should send, to every endpoint that there is: each has an answer as Consul gives it, and harms nobody."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from support.consul import NODE, Consul, running_consul
from tulle.server.consul.app import BODY_LIMIT

SECRET = "5ec2e700-0000-4000-8000-000000000001"
ROUNDS = 40
"""Requests to each endpoint, with each method, from each seed."""
ALLOWED = {200, 400, 401, 403, 404, 405, 409, 413, 429, 431, 500, 503}
DEFECTS = (b"Internal Server Error", b"Traceback", b"control plane failed", b'File "')

NAMES = (
    "", "x", "web", "serfHealth", "service:web", "n1", "any", "passing", "..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f",
    "a/b//c", "a%2fb", "%00", "a%00b", "%ff%fe", "%c3%28", "%", "%zz", "%u0041", "+", "a b".replace(" ", "%20"), "a;b=c", "%F0%9F%92%A9",
    "x" * 3000, "%41" * 1500, "x/execute", "/execute", "x/explain", "000", "-1", "nan", "{}", "[]", "'", "%22", "%0d%0aX-Bad:%201",
    "~", "*",
)  # fmt: skip
NUMBERS = (
    "", "0", "1", "-1", "-0", "+1", " 1", "1 ", "1e3", "0x10", "1.5", "nan", "inf", "18446744073709551615", "18446744073709551616",
    "9" * 30,
    "9" * 5000, "\u0661", "\u2167", "abc", "%00", "1%00", "_1", "1_0",
)  # fmt: skip
WAITS = ("1ms", "2ms", "0.5ms", "1us", "1\u00b5s", "1ns", "abc", "5", "1h99", "9" * 400 + "h", "--1s", "1s1", ".s", "1ms%00", "\u0661s")
FILTERS = (
    "", "(", "Node ==", 'Node == "n1"', "Node matches `(`", 'Node matches "(a*)*b"', "not " * 400 + "Node is empty", "(" * 2000,
    "Meta.a.b == 1",
    'ServiceTags contains "%00"', "Node == \ud83d\udca9", "and", 'Service.Port == "x"', "Checks[0] == 1", "`", '"', "Node in Node",
)  # fmt: skip
PARAMETERS = {
    "index": NUMBERS, "cas": NUMBERS, "flags": NUMBERS, "limit": NUMBERS, "filter": FILTERS, "dc": ("", "dc1", "DC1", "dc2", "../x", "%00"),
    "tag": NAMES, "node-meta": ("", ":", "a:b", "a", "a:b:c", "%00:"), "passing": ("", "1", "maybe"), "near": NAMES[:8], "pretty": ("",),
    "stale": ("",), "consistent": ("",), "cached": ("",), "max_stale": WAITS, "keys": ("",), "recurse": ("",), "raw": ("",),
    "separator": ("", "/", "%00", "x" * 500), "acquire": NAMES, "release": NAMES, "enable": ("", "true", "maybe"), "reason": NAMES,
    "note": NAMES,
    "hash": NAMES[:10], "token": NAMES[:12], "ns": ("x",), "replace-existing-checks": ("", "x"), "wan": ("",), "format": ("text", "x"),
    "source": NAMES[:8], "destination": NAMES[:8], "name": NAMES, "node": NAMES[:8], "service": NAMES[:8], "expanded": ("", "x"),
}  # fmt: skip
KEYS = (
    "ID", "Name", "name", "Node", "Address", "Port", "Tags", "Meta", "Check", "Checks", "CheckID", "Service", "ServiceID", "TTL",
    "Interval",
    "HTTP", "Header", "Args", "Timeout", "Status", "Notes", "Output", "Weights", "Passing", "Warning", "TaggedAddresses", "Proxy",
    "Connect",
    "SidecarService", "Native", "Kind", "LockDelay", "Behavior", "NodeChecks", "ServiceChecks", "KV", "Verb", "Key", "Value",
    "Flags", "Index",
    "Session", "Template", "Type", "Regexp", "Failover", "Datacenters", "Targets", "DNS", "OnlyPassing", "Rules", "Policies", "Roles",
    "ServiceIdentities", "ServiceName", "ExpirationTTL", "Sources", "Action", "Precedence", "Protocol", "Routes", "Splits",
    "Weight", "Match",
    "Destination", "Subsets", "Redirect", "Config", "Datacenter", "SkipNodeUpdate", "NodeMeta", "Definition", "AccessorID",
    "SecretID", "Token",
    "Coord", "Vec", "Error", "Adjustment", "Height", "EnableTagOverride", "OutputMaxSize", "FailuresBeforeCritical", "Permissions",
    "Upstreams",
)  # fmt: skip
TEXTS = (
    "", "x", "web", "10s", "-1s", "9999999h", "passing", "critical", "10.0.0.1", "0.0.0.0", "::", "connect-proxy", "set", "cas",
    "lock", "delete",
    "service-router", "service-resolver", "proxy-defaults", "allow", "name_prefix_match", "(", "${match(99)}", "\x00", "\ud800",
    "\U0001f4a9", "a\nb",
    base64.b64encode(b"v").decode(), "!!!", "x" * 5000, 'key "" { policy = "write" }', "*", "../..", "true",
)  # fmt: skip
VALID: tuple[Any, ...] = (
    {"Name": "web", "ID": "web-1", "Tags": ["a"], "Port": 80, "Meta": {"a": "b"}, "Weights": {"Passing": 1, "Warning": 1},
     "Check": {"HTTP": "http://127.0.0.1:1/", "Interval": "10s", "Header": {"a": ["b"]}},
     "TaggedAddresses": {"lan": {"Address": "a", "Port": 1}}},
    {"Name": "web", "Connect": {"SidecarService": {"Port": 21000, "Proxy": {"Upstreams": [{"DestinationName": "x", "LocalBindPort": 1}]}}}},
    {"Name": "beat", "TTL": "10s", "ServiceID": "web", "Status": "passing", "Notes": "n"}, {"Status": "critical", "Output": "o"},
    {"Node": "other", "Address": "10.0.0.2", "NodeMeta": {"a": "b"}, "Service": {"ID": "s", "Service": "s", "Port": 1, "Tags": ["t"]},
     "Check": {"CheckID": "c", "Name": "c", "ServiceID": "s", "Status": "warning", "Definition": {"TCP": "x:1"}}},
    {"Node": "other", "ServiceID": "s"}, {"Name": "lock", "TTL": "10s", "LockDelay": "1s", "Behavior": "delete", "NodeChecks": [],
    "Node": "n1"},
    [{"KV": {"Verb": "set", "Key": "k", "Value": "dg==", "Flags": 1, "Index": 1, "Session": "x"}}, {"Node": {"Verb": "get",
    "Node": {"Node": "n1"}}}],
    {"Name": "q", "Service": {"Service": "web", "Tags": ["!a"], "Failover": {"NearestN": 1, "Datacenters": ["dc1"]}}, "DNS": {"TTL": "10s"},
     "Template": {"Type": "name_prefix_match", "Regexp": "(.*)"}},
    {"Name": "p", "Rules": 'key "a" { policy = "write" }'}, {"Description": "t", "Policies": [{"Name": "global-management"}], "Roles": [],
     "ServiceIdentities": [{"ServiceName": "web"}], "ExpirationTTL": "1h"},
    {"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}}, "ConnectTimeout": "5s"},
    {"Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "api", "Action": "allow", "Permissions": []}]},
    {"Node": "n1", "Segment": "", "Coord": {"Vec": [0.1] * 8, "Error": 1.5, "Adjustment": 0, "Height": 0.001}},
)  # fmt: skip


@pytest.fixture(scope="module", params=["off", "allow"])
def consul(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul"), acl=request.param) as running:
        running.put("/v1/acl/bootstrap", {"BootstrapSecret": SECRET})
        running.put("/v1/catalog/register", {"Node": "kept", "Address": "10.0.0.9", "Service": {"Service": "kept", "Port": 9}})
        running.put("/v1/kv/kept", b"value")
        yield running


def endpoints(consul: Consul) -> list[tuple[str, str]]:
    """What is there, as the server itself knows it."""
    return sorted({(method, path) for path, methods in consul.app._routes.items() for method in methods})


class Dice:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.one = self.random.choice

    def request(self, method: str, path: str) -> bytes:
        if self.random.random() < 0.1:
            method = self.one(("GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE", "BREW"))
        target = path + (self.one(NAMES) if path.endswith("/") or self.random.random() < 0.1 else "") + self.query()
        body = self.body() if method in ("PUT", "POST", "DELETE", "PATCH") else b""
        lines = [f"{method} ".encode() + target.encode("utf-8", "surrogatepass") + b" HTTP/1.1", b"Host: localhost", *self.headers()]
        if body and self.random.random() < 0.1:
            lines += [b"Transfer-Encoding: chunked"]
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif body or self.random.random() < 0.3:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", body])

    def query(self) -> str:
        names = [self.one(tuple(PARAMETERS)) for _ in range(self.one((0, 0, 1, 2, 3)))]
        given = [f"{name}={self.one(PARAMETERS[name])}" for name in names]
        return "?" + "&".join([f"wait={self.one(WAITS)}", *given]).replace(" ", "%20") if given or self.random.random() < 0.3 else ""

    def headers(self) -> list[bytes]:
        odd = (
            b"X-Consul-Token: ", b"X-Consul-Token: \xff\xfe", b"Authorization: Bearer",
            b"Authorization: x",
            b"Content-Type: text/html", b"Accept: text/plain", b"Accept-Encoding: gzip, br", b"Cache-Control: max-age=x",
            b"Expect: 100-continue",
            b"X-Long: " + b"y" * 20000, b"Content-Encoding: gzip", b"X-Consul-Index: 5", b"Range: bytes=0-", b"If-Match: *",
        )  # fmt: skip
        token = [b"X-Consul-Token: " + SECRET.encode()] if self.random.random() < 0.7 else []
        return token + [self.one(odd) for _ in range(self.one((0, 0, 0, 1, 2)))]

    def body(self) -> bytes:
        kind = self.random.random()
        if kind < 0.05:
            return self.one(
                (
                    b"[" * 100_000,
                    b'{"a":' * 50_000,
                    b"\xff\xfe{}",
                    b"\x00" * 50,
                    b"NaN",
                    b"1e999",
                    b'"',
                    b"null",
                    b"true",
                    b"-",
                    b"9" * 5000,
                )
            )
        text = json.dumps(self.tree(4) if kind < 0.5 else self.spoilt(self.one(VALID))).encode()
        return text[: self.random.randrange(len(text) + 1)] if kind < 0.25 else text

    def spoilt(self, value: Any) -> Any:
        """With something else in one of its places, or two."""
        if self.random.random() < 0.07:
            return self.tree(1)
        if isinstance(value, list):
            return [self.spoilt(item) for item in value]
        return {key: self.spoilt(item) for key, item in value.items()} if isinstance(value, dict) else value

    def tree(self, depth: int) -> Any:
        kind = self.random.random()
        if depth == 0 or kind < 0.15:
            return self.one((None, True, False, 0, 1, -1, 1.5, 1e308, 1 << 70, 65536, *TEXTS, *TEXTS))
        if kind < 0.3:
            return [self.tree(depth - 1) for _ in range(self.one((0, 1, 2)))]
        return {self.one(KEYS): self.tree(depth - 1) for _ in range(self.one((1, 2, 4, 7)))}


class Wire:
    """A connection that is made anew when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. (0, b"") where the connection was closed without an answer."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        with contextlib.suppress(ConnectionError):  # an answer may have come before the end of the request
            self._socket.sendall(request)
        try:
            with self._socket.makefile("rb") as stream:
                return self._read(stream, request.startswith(b"HEAD "))
        except ConnectionError:
            self.close()
            return 0, b""

    def _read(self, stream: Any, bodiless: bool) -> tuple[int, bytes]:
        status = 100
        while status == 100:
            first = stream.readline()
            if not first:
                self.close()
                return 0, b""
            status = int(first.split()[1])
            headers = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
        body = b"" if bodiless else stream.read(int(headers.get(b"content-length", 0)))
        if headers.get(b"connection") == b"close":
            self.close()
        return status, body

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None


@pytest.mark.parametrize("seed", [1, 2])
def test_every_endpoint_has_an_answer_for_everything(consul: Consul, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    dice, wire = Dice(seed), Wire(consul.port)
    caplog.set_level(logging.ERROR)
    silent = 0
    for method, path in endpoints(consul) * ROUNDS:
        request = dice.request(method, path)
        status, body = wire.ask(request)
        silent += status == 0
        assert status in ALLOWED or status == 0, (status, request[:400], body[:400])
        assert not any(defect in body for defect in DEFECTS), (status, request[:600], body[:400])
        assert status != 500 or body or request.startswith(b"HEAD"), request[:600]
    wire.close()
    assert silent == 0
    assert not caplog.records, caplog.text
    assert consul.get("/v1/kv/kept?raw").body == b"value"
    assert [node["Node"] for node in consul.get("/v1/catalog/service/kept").json] == ["kept"]
    assert consul.get(f"/v1/catalog/node/{NODE.name}").json["Node"]["Address"] == NODE.address


def test_bodies_that_are_too_large(consul: Consul) -> None:
    wire = Wire(consul.port)
    for path, size in (("/v1/kv/x", 512 * 1024 + 1), ("/v1/txn", BODY_LIMIT + 1), ("/v1/event/fire/x", 70_000), ("/v1/kv/x", 20_000_000)):
        status, body = wire.ask(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size)
        assert status == 413, (path, body)
        assert b"large" in body
    wire.close()


def test_what_is_no_http(consul: Consul) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 100,
        b"GET /v1/kv/x HTTP/9.9\r\n\r\n",
    ):
        wire = Wire(consul.port)
        assert wire.ask(data)[0] in (0, 400, 403, 404, 505)
        wire.close()
    for smuggled in (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"Content-Length: 4\r\nContent-Length: 5", b"Content-Length: -1"):
        wire = Wire(consul.port)
        assert wire.ask(b"PUT /v1/kv/smuggled HTTP/1.1\r\nHost: localhost\r\n" + smuggled + b"\r\n\r\n0\r\n\r\n")[0] == 400
        wire.close()
    assert consul.get("/v1/kv/smuggled").status == 404
