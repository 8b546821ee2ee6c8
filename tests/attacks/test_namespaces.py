"""Whose token or certificate is for one namespace learns nothing of another, and changes nothing there, whatever it asks of the API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.guarded import Guarded, Pair, guarded
from support.xds_client import node_message
from tulle.credentials import Credentials
from tulle.http_client import request
from tulle.model.proxy import InboundPort, Node, Role
from tulle.translate.snapshot import CLUSTER, SECRET

ROUTES = re.findall(r"^\| `([A-Z]+) (\S+)` \|", (Path(__file__).parents[2] / "docs" / "api.md").read_text(), re.MULTILINE)
"""All that there are: another test holds the page to that."""
MARK = "vault"
"""In the name of everything in the namespace `bank`."""
DOCUMENTS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s}
spec: {hosts: [%s.internal], http: [{route: [{destination: {host: %s}}]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s-entry, namespace: %s}
spec: {hosts: [%s.internal], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 192.0.2.9}]}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("namespaces"), TULLE_NODE_TIMEOUT="1h") as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Question:
    method: str
    path: str
    body: object = None


def documents(name: str, namespace: str) -> dict[str, Any]:
    text = DOCUMENTS % (name, namespace, name, name, name, namespace, name)
    return {"files": [{"path": "x.yaml", "text": text}]}


def registration(namespace: str, name: str) -> dict[str, Any]:
    ports = [{"number": 80, "target": 8080, "name": "http", "protocol": "HTTP"}]
    return {"service": name, "namespace": namespace, "serviceAccount": name, "address": "127.0.0.1", "ports": ports}


BODIES: dict[str, Any] = {
    "POST /api/v1/apply": documents(MARK, "bank"),
    "POST /api/v1/delete": {"resources": [{"kind": "vs", "namespace": "bank", "name": MARK}]},
    "POST /api/v1/diff": documents(MARK, "bank"),
    "POST /api/v1/validate": documents("cart", "shop"),
    "PUT /api/v1/registrations/{id}": registration("shop", "cart"),
    "PUT /api/v1/agents/{id}": {},
    "POST /api/v1/ca/rotation": {"step": "begin"},
    "POST /api/v1/explain": {"from": f"sidecar~{MARK}-1", "url": f"http://{MARK}.bank/"},
    "POST /api/v1/can": {"from": f"bank/{MARK}", "url": f"http://{MARK}.bank/"},
    "POST /api/v1/tokens": {"role": "viewer", "namespaces": ["bank"]},
    "POST /api/v1/identity/jwt": {"audience": ["x"], "for": f"bank/{MARK}"},
    "POST /api/v1/ca/jwt-keys": {},
}


def questions(token_id: str) -> Iterator[Question]:
    """Every route, about the things in `bank`."""
    known = {"{id}": f"{MARK}-1", "{kind}": "vs", "{namespace}": "bank", "{name}": MARK}
    for method, path in ROUTES:
        full = path
        for part, text in ({**known, "{id}": token_id} if "/tokens/" in path else known).items():
            full = full.replace(part, text)
        hosts = (f"{MARK}", f"{MARK}.bank", f"{MARK}.bank.svc.cluster.local", f"{MARK}.internal") if "{host}" in path else ("",)
        for host in hosts:
            yield Question(method=method, path=full.replace("{host}", host), body=BODIES.get(f"{method} {path}"))
    for path in (f"/api/v1/proxy-config?namespace=bank&labels=app={MARK}", "/api/v1/resources?namespace=bank", "/api/v1/resources/vs"):
        yield Question(method="GET", path=path)


async def told(mesh: Guarded, question: Question, by: Credentials) -> tuple[int, str]:
    body = b"" if question.body is None else json.dumps(question.body).encode()
    answer = await request(mesh.api, question.method, question.path, body=body, credentials=by, timeout=60)
    return answer.status, answer.text()


async def furnished(mesh: Guarded, stack: AsyncExitStack) -> str:
    """One of everything in both namespaces; the id of a token in `bank`."""
    for namespace, name in (("bank", MARK), ("shop", "cart")):
        assert (await mesh.ask("POST", "/api/v1/apply", documents(name, namespace)))[0] == 200
        member = await mesh.member(f"{namespace}/{name}")
        for path, body in (
            (f"registrations/{name}-1?ttl=1h", registration(namespace, name)),
            (f"agents/{name}-1", {"node": f"{name}-machine"}),
        ):
            assert (await mesh.ask("PUT", f"/api/v1/{path}", body, member))[0] == 200
        inbound = (InboundPort(service_port=80, listen=8080, target=80),)
        node = Node(
            id=f"sidecar~{name}-1",
            role=Role.SIDECAR,
            namespace=namespace,
            service=name,
            service_account=name,
            instance="1",
            inbound=inbound,
        )
        client = await stack.enter_async_context(mesh.proxy(Pair.of(member)))
        for type_url in (CLUSTER, SECRET):
            names = ["default"] if type_url == SECRET else []
            first = {"node": node_message(node)} if type_url == CLUSTER else {}
            await client.send(**first, type_url=type_url, resource_names_subscribe=names)
            answer = await client.receive()
            await client.send(type_url=answer.type_url, response_nonce=answer.nonce)
    check = {"Node": f"{MARK}-machine", "Address": "127.0.0.1", "Check": {"Name": MARK, "CheckID": MARK, "Status": "passing"}}
    body = json.dumps(check).encode()
    known = await mesh.consul()
    answer = await request(mesh.api, "PUT", "/v1/catalog/register", body=body, headers=known, credentials=mesh.shows(), timeout=60)
    assert answer.status == 200
    return (await mesh.token(role="viewer", namespaces=["bank"], name=MARK)).split(".")[1]


def test_a_token_of_one_namespace_learns_nothing_of_another(mesh: Guarded) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            token_id = await furnished(mesh, stack)
            admin = mesh.shows(mesh.admin)
            callers: dict[str, Credentials] = {
                role: mesh.shows(await mesh.token(role=role, namespaces=["shop"])) for role in ("viewer", "operator", "admin")
            }
            callers["certificate"] = mesh.shows(pair=await mesh.person(role="admin", namespaces=["shop"]))
            callers["member"] = await mesh.member("shop/cart")
            before = await everything(mesh, admin)
            assert before.count(MARK) > 10
            for name, caller in callers.items():
                for question in questions(token_id):
                    status, text = await told(mesh, question, caller)
                    mine = question.path + json.dumps(question.body)
                    leaks = [word for word in re.findall(rf"[\w.~-]*{MARK}[\w.~-]*", text) if word not in mine]
                    assert leaks == [], (name, question, status, text)
                    assert status < 500, (name, question, status, text)
            assert await everything(mesh, admin) == before

    asyncio.run(run())


async def everything(mesh: Guarded, admin: Credentials) -> str:
    """All that an admin sees of `bank`."""
    paths = ("resources?namespace=bank", "services", "endpoints", "registrations", "proxies", "certificates", "agents", "checks", "tokens")
    texts = [(await told(mesh, Question(method="GET", path=f"/api/v1/{path}"), admin))[1] for path in paths]
    items = [item for text in texts for item in next(v for v in json.loads(text).values() if isinstance(v, list))]
    changing = ("heard", "revision", "status", "current", "acked")
    kept = [{k: v for k, v in item.items() if k not in changing} for item in items if MARK in json.dumps(item)]
    return json.dumps(kept, sort_keys=True)


def test_what_is_ones_own_is_seen(mesh: Guarded) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            await furnished(mesh, stack)
            viewer = mesh.shows(await mesh.token(role="viewer", namespaces=["shop"]))
            for noun in ("resources", "registrations", "services", "endpoints", "endpoints/cart.shop", "proxies", "certificates"):
                status, text = await told(mesh, Question(method="GET", path=f"/api/v1/{noun}"), viewer)
                assert (status, "cart" in text) == (200, True), (noun, text)

    asyncio.run(run())


def test_what_an_existing_name_and_none_are_told_is_the_same(mesh: Guarded) -> None:
    """Or one could find out what others have by guessing."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            await furnished(mesh, stack)
            viewer = mesh.shows(await mesh.token(role="viewer", namespaces=["shop"]))
            for path in (f"registrations/{MARK}-1", f"endpoints/{MARK}", f"endpoints/{MARK}.internal", f"resources/vs/bank/{MARK}"):
                there = await told(mesh, Question(method="GET", path=f"/api/v1/{path}"), viewer)
                nowhere = await told(mesh, Question(method="GET", path=f"/api/v1/{path.replace(MARK, 'nones')}"), viewer)
                assert (there[0], there[1].replace(MARK, "nones")) == nowhere

    asyncio.run(run())


def test_the_metrics_name_no_one(mesh: Guarded) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            await furnished(mesh, stack)
            answer = await request(mesh.api, "GET", "/metrics", credentials=mesh.shows(), timeout=60)
            assert (answer.status, MARK in answer.text()) == (200, False)

    asyncio.run(run())
