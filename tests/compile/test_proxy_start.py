"""How proxies are started, as ProxyConfig documents say."""

from __future__ import annotations

import pytest

from support.compiled import built, documents, warnings
from tulle.compile.proxy_start import ProxyStart, proxy_start
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Labels

DOCUMENTS = """
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: mesh, namespace: istio-system}
spec: {concurrency: 1, environmentVariables: {A: mesh, B: mesh, C: mesh}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: not-for-others, namespace: istio-system}
spec: {selector: {matchLabels: {app: web}}, concurrency: 9}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: shop, namespace: shop}
spec: {environmentVariables: {A: namespace, B: namespace}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, concurrency: 0, environmentVariables: {A: workload, LD_PRELOAD: /tmp/x.so}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: web-again, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, concurrency: 4}
"""


@pytest.mark.parametrize(
    ("namespace", "app", "concurrency", "environment"),
    [
        ("other", "web", 1, {"A": "mesh", "B": "mesh", "C": "mesh"}),
        ("shop", "api", 1, {"A": "namespace", "B": "namespace", "C": "mesh"}),
        ("shop", "web", 0, {"A": "workload", "B": "namespace", "C": "mesh"}),
        ("istio-system", "web", 9, {"A": "mesh", "B": "mesh", "C": "mesh"}),
    ],
)
def test_the_nearest_wins_and_the_oldest_of_two(namespace: str, app: str, concurrency: int, environment: dict[str, str]) -> None:
    found = proxy_start(documents(DOCUMENTS).values(), "istio-system", namespace, Labels({"app": app}))
    assert found == ProxyStart(concurrency=concurrency, environment=FrozenMap(environment))


def test_without_documents_nothing_is_said() -> None:
    assert proxy_start((), "istio-system", "default", Labels({})) == ProxyStart()


def test_what_an_older_document_says_already_is_told() -> None:
    again = DOCUMENTS.replace("concurrency: 4}", "concurrency: 4, environmentVariables: {A: x, Z: x}}")
    (threads, variable) = warnings(built(again), "ProxyConfig/web-again")
    older = "not in force: ProxyConfig web (rules.yaml:17) is for the same proxies, and older"
    assert threads.endswith(f"spec.concurrency: {older}")
    assert variable.endswith(f"spec.environmentVariables.A: {older}")
    for name in ("mesh", "not-for-others", "shop"):
        assert warnings(built(again), f"ProxyConfig/{name}") == []
