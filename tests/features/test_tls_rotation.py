"""Certificates are replaced while requests come in: nobody notices, and only those who need a secret have it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.backend import backend
from support.carried import at
from support.certificates import Ca, secret, tls_secret
from support.compiled import built, gateway, inputs, sidecar
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import context, get
from tulle.compile import build, view
from tulle.translate import Translator
from tulle.translate.snapshot import SECRET

CA = Ca()
EDGE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: PORT, name: https, protocol: HTTPS}, bind: 127.0.0.1, hosts: ["*"], tls: {mode: MUTUAL, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: far}}]}]}
---
"""


class Load:
    """Callers that do not stop: each request of the first kind has a connection of its own, those of the second share one."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self._port, self._tls = port, tls
        self._over = threading.Event()
        self.done = 0
        self.failures: list[str] = []
        self.serials: set[int] = set()

    def stop(self) -> None:
        self._over.set()

    def anew(self) -> None:
        while not self._over.is_set():
            try:
                answer = get(self._port, "shop.example.com", self._tls)
                self._count(answer.status == 200, str(answer.status))
                self.serials.add(answer.serial)
            except OSError as error:
                self._count(False, repr(error))

    def again(self) -> None:
        request = b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n"
        try:
            with (
                socket.create_connection(("127.0.0.1", self._port), timeout=60) as plain,
                self._tls.wrap_socket(plain, server_hostname="shop.example.com") as wrapped,
            ):
                while not self._over.is_set():
                    wrapped.sendall(request)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += wrapped.recv(65536) or b"\r\n\r\n"
                    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                    missing = length - len(head.partition(b"\r\n\r\n")[2])
                    while missing > 0:
                        missing -= len(wrapped.recv(65536))
                    self._count(b" 200 " in head.splitlines()[0], head.decode())
        except (OSError, IndexError) as error:
            self._count(False, repr(error))

    def _count(self, good: bool, what: str) -> None:
        self.done += 1
        if not good:
            self.failures.append(what)


@pytest.mark.envoy
def test_rotation_under_load() -> None:
    port = free_port()
    other = Ca("the next authority")
    leaves = [CA.issue("shop.example.com") for _ in range(5)]
    caller = CA.issue("caller")
    documents = EDGE.replace("PORT", str(port))
    load = Load(port, context(CA, caller))

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), documents + tls_secret("shop", leaves[0], CA), at("far", 80, far.port, id="far")) as mesh:
                with ThreadPoolExecutor(4) as pool:
                    try:
                        running = [pool.submit(work) for work in (load.anew, load.anew, load.anew, load.again)]
                        for leaf in (*leaves[1:], *leaves[1:]):
                            await mesh.change(documents + tls_secret("shop", leaf, CA))
                            await seen(leaf.serial)
                        both = secret("shop-cacert", cacert=CA.pem + other.pem)
                        await mesh.change(documents + tls_secret("shop", leaves[-1]) + "---\n" + both)
                        before = load.done
                        while load.done < before + 100:  # noqa: ASYNC110 - threads have no event of this loop
                            await asyncio.sleep(0.01)
                    finally:
                        load.stop()
                for work in running:
                    work.result()
                assert mesh.rejections == []

    async def seen(serial: int) -> None:
        load.serials.clear()
        async with asyncio.timeout(60):
            while serial not in load.serials:  # noqa: ASYNC110 - threads have no event of this loop
                await asyncio.sleep(0.005)

    asyncio.run(run())
    assert load.failures == []
    assert load.done > 100


def test_a_proxy_has_the_secrets_that_it_names_and_no_others() -> None:
    leaf = CA.issue("a")
    text = EDGE.replace("PORT", "8443") + "---\n".join(
        (
            tls_secret("shop", leaf, CA, namespace="istio-system"),
            tls_secret("shop", leaf, CA),
            tls_secret("other", leaf, CA),
            secret("more", a=b"b"),
        )
    )
    mesh = built(text).mesh

    def names(node: object) -> list[str]:
        return sorted(Translator().snapshot(view(mesh, node)).names(SECRET))  # type: ignore[arg-type]

    assert names(gateway()) == ["kubernetes://shop", "kubernetes://shop-cacert"]
    assert names(gateway(namespace="edge")) == ["kubernetes-gateway://default/shop", "kubernetes-gateway://default/shop-cacert"]
    assert names(gateway(istio="another")) == []
    assert names(sidecar(app="a")) == []


def test_only_the_secret_is_sent_again() -> None:
    """The listener stays as it is, so no connection is drained."""
    documents = EDGE.replace("PORT", "8443")
    translator = Translator()
    first = built(documents + tls_secret("shop", CA.issue("a"), CA))
    before = translator.snapshot(view(first.mesh, gateway()))
    second = build(inputs(documents + tls_secret("shop", CA.issue("a"), CA)), first)
    after = translator.snapshot(view(second.mesh, gateway()))
    changed = {name for name, version in after.versions().items() if before.versions().get(name) != version}
    assert changed == {(SECRET, "kubernetes-gateway://default/shop")}
