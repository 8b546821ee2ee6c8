"""What explain says of a workload's port, beside what a real sidecar does there."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from support.backend import backend
from support.certificates import Pair
from support.compiled import built
from support.meshed import DISABLE, PERMISSIVE, STRICT, meshed, opened, registered, sidecar
from support.running import free_port
from tulle.compile.explain import Request, Trace, explain
from tulle.model.proxy import Node
from tulle.model.service import Protocol

MODES = {"STRICT": STRICT, "PERMISSIVE": PERMISSIVE, "DISABLE": DISABLE}
PRINCIPAL = "spiffe://cluster.local/ns/default/sa/client"
CALLERS = {"in plain text": "http", "with TLS of its own": "https", "from the mesh": "http"}


def said(text: str, node: Node, port: int, caller: str) -> Trace:
    request = Request(
        url=f"{CALLERS[caller]}://127.0.0.1:{port}/",
        connect_to=("127.0.0.1", port),
        principal=PRINCIPAL if caller == "from the mesh" else "",
        alpn=("http/1.1",) if caller == "with TLS of its own" else (),
    )
    return explain(built(text, registered(node)).mesh, node, request)


async def done(port: int, caller: str, pair: Pair) -> bool:
    """Whether an answer in HTTP comes, which a caller with TLS of its own cannot read from a workload without any."""
    tls = None
    if caller != "in plain text":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        tls.set_alpn_protocols(["istio" if caller == "from the mesh" else "http/1.1"])
        if caller == "from the mesh":
            with tempfile.TemporaryDirectory() as folder:
                tls.load_cert_chain(*pair.write(Path(folder), "own"))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(100), 60)
        writer.close()
    except (ConnectionError, ssl.SSLError):
        return False
    return answer.startswith(b"HTTP/1.1 200")


@pytest.mark.envoy
@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.TCP, Protocol.AUTO])
def test_explain_and_a_sidecar_agree(tmp_path: Path, protocol: Protocol) -> None:
    async def run() -> None:
        port = free_port()
        with backend("app") as app:
            web = sidecar("web", opened(80, port, app.port, protocol))
            async with meshed(tmp_path, PERMISSIVE, (web,)) as mesh:
                pair, differences = mesh.pair("client"), []
                for mode, text in MODES.items():
                    await mesh.change(text)
                    for caller in CALLERS:
                        trace, answered = said(text, web, port, caller), await done(port, caller, pair)
                        # TLS that is passed on reaches a workload that does not speak it.
                        lost = caller != "in plain text" and trace.tls is None
                        if answered != (trace.closed is None and not lost):
                            differences.append((mode, caller, answered, trace))
                assert differences == []

    asyncio.run(run())


def test_why_plain_text_is_refused() -> None:
    web = sidecar("web", opened(80, 20001))
    trace = said(STRICT, web, 20001, "in plain text")
    assert trace.closed == "no filter chain takes the connection"
    (lost,) = [step for step in trace.steps if step.rule == "filter chain inbound|80||mtls"]
    assert (lost.matched, lost.why) == (False, "it takes tls, the connection is plain")
    assert lost.source == "rules.yaml:5"


def test_what_is_taken_from_the_mesh() -> None:
    web = sidecar("web", opened(80, 20001))
    trace = said(PERMISSIVE, web, 20001, "from the mesh")
    assert trace.filter_chain == "inbound|80||mtls"
    assert trace.tls is not None
    assert (trace.tls.certificates, trace.tls.client_certificate) == (("default",), "required")
    assert trace.cluster == "inbound|80||"


def test_whom_a_caller_believes() -> None:
    web, client = sidecar("web", opened(80, 20001)), replace(sidecar("client"), http_proxy=("127.0.0.1", 15001))
    trace = explain(built("", registered(web)).mesh, client, Request(url="http://web/"))
    assert trace.policies["mutual_tls"] == {"to_instances_with_sidecar": ["spiffe://cluster.local/ns/default/sa/web"]}
