"""Files of documents: several in one, lists, what is skipped and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.reading import document, good
from tulle.model.resource import Key, Origin
from tulle.resources.kinds import KINDS
from tulle.resources.read import read

THREE = """\
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: foo-default}
spec:
  host: foo.default.svc.cluster.local
  trafficPolicy:
    outlierDetection: {consecutiveErrors: 5, interval: 1m, baseEjectionTime: 3m}
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: foo-default}
spec:
  hosts: [foo.default.svc.cluster.local]
  http:
  - route: [{destination: {host: foo.default.svc.cluster.local}}]
    fault: {delay: {fixedDelay: 5s, percentage: 100}}
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: foo-default}
spec:
  hosts: [foo.default.svc.cluster.local]
  http:
  - route: [{destination: {host: foo.default.svc.cluster.local}}]
    fault: {abort: {httpStatus: 500, percentage: 10}}
"""


def told(text: str) -> list[str]:
    return [str(violation) for violation in read(text, "f.yaml").violations]


def test_old_documents_are_read_as_they_stand() -> None:
    found = read(THREE, "f.yaml")
    assert found.violations == ()
    rule, delay, abort = found.resources
    outlier = rule.spec.traffic_policy.outlier_detection
    assert (outlier.consecutive_errors, outlier.interval, outlier.base_ejection_time) == (5, timedelta(minutes=1), timedelta(minutes=3))
    assert delay.spec.http[0].fault.delay.percentage == 100.0
    assert delay.spec.http[0].fault.delay.fixed_delay == timedelta(seconds=5)
    assert (abort.spec.http[0].fault.abort.http_status, abort.spec.http[0].fault.abort.percentage) == (500, 10.0)
    assert [str(warning) for warning in found.warnings] == [
        (
            "f.yaml:7: DestinationRule/foo-default: spec.trafficPolicy.outlierDetection.consecutiveErrors: "
            "is an old spelling: it counts 5xx answers and failed connections in a row; write consecutive5xxErrors"
        )
    ]


def test_a_resource_knows_where_each_field_was_written() -> None:
    resource = read("# first\n---\n" + THREE, "dir/f.yaml").resources[1]
    assert resource.key == Key(kind="VirtualService", namespace="default", name="foo-default")
    assert resource.origin == Origin(path="dir/f.yaml", line=11)
    assert resource.at("spec.http[0].fault.delay").origin.line == 18
    assert resource.at("spec.http[0].timeout").origin.line == 17
    assert resource.at("nowhere").origin.line == 11


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("VirtualService", "hosts: [a]\nhttp: [{route: [{destination: {host: a}}]}]"),
        ("DestinationRule", "host: a"),
        ("Gateway", "servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}]"),
        ("ServiceEntry", "hosts: [a]"),
        ("WorkloadEntry", "address: 1.1.1.1"),
        ("Sidecar", "egress: [{hosts: [./*]}]"),
    ],
)
def test_all_versions_have_the_same_schema(kind: str, spec: str, version: str) -> None:
    resource = good(document(kind, spec, api_version=f"networking.istio.io/{version}"))
    assert resource.api_version == f"networking.istio.io/{version}"
    assert resource.key.kind == kind


def test_metadata() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: a.b
  namespace: team
  labels: {app.kubernetes.io/name: x}
  annotations: {note: "any text\\n"}
  generateName: a-
  creationTimestamp: null
  managedFields: [{manager: kubectl, fieldsV1: {"f:spec": {}}}]
  resourceVersion: "12"
  uid: 5d9
  generation: 3
  finalizers: []
  ownerReferences: []
  selfLink: /x
spec: {host: a}
status: {anything: goes}
"""
    resource = good(text)
    assert resource.key == Key(kind="DestinationRule", namespace="team", name="a.b")
    assert resource.labels == {"app.kubernetes.io/name": "x"}
    assert resource.annotations == {"note": "any text\n"}


def test_the_namespace_of_documents_that_name_none() -> None:
    text = document("DestinationRule", "host: a")
    assert read(text, "f.yaml", namespace="team").resources[0].key.namespace == "team"
    named = text.replace("{name: a}", "{name: a, namespace: mine}")
    assert read(named, "f.yaml", namespace="team").resources[0].key.namespace == "mine"


def test_a_list_is_unrolled() -> None:
    text = """\
apiVersion: v1
kind: List
items:
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: a}
  spec: {host: a}
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: b}
  spec:
    hosts: b
- kind: DestinationRuleList
  apiVersion: networking.istio.io/v1
  items:
  - apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: c}
    spec:
      host: c
- 7
"""
    found = read(text, "f.yaml")
    assert [(r.key.name, r.origin.line) for r in found.resources] == [("a", 4), ("c", 16)]
    assert found.resources[1].at("spec.host").origin.line == 20
    assert [str(v) for v in found.violations] == [
        "f.yaml:11: DestinationRule/b: spec.host: required",
        'f.yaml:12: DestinationRule/b: spec.hosts: unknown field "hosts"; did you mean "host"?',
        "f.yaml:21: apiVersion: required, as text",
        "f.yaml:21: kind: required, as text",
    ]


def test_containers_of_published_samples_are_skipped() -> None:
    text = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {spec: {containers: []}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: b}
---
apiVersion: v1
kind: LimitRange
metadata: {name: c}
---
apiVersion: batch/v1
kind: Job
metadata: {name: d}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: e}
"""
    found = read(text, "f.yaml")
    assert (found.resources, found.violations) == ((), ())
    run = "is skipped: Tulle runs no containers: start it with `tulle run` or a mesh file"
    assert [str(w) for w in found.warnings] == [
        f"f.yaml:2: Deployment/a: kind: {run}",
        "f.yaml:7: ServiceAccount/b: kind: is skipped: Tulle has no use for it",
        "f.yaml:11: LimitRange/c: kind: is skipped: Tulle has no use for it",
        f"f.yaml:15: Job/d: kind: {run}",
        "f.yaml:19: Ingress/e: kind: is skipped: Tulle has no use for it",
    ]


@pytest.mark.parametrize(
    ("api_version", "kind", "said"),
    [
        ("networking.istio.io/v1", "VirtualServce", '2: kind: unknown kind "VirtualServce"; did you mean "VirtualService"?'),
        (
            "x.io/v1",
            "Zebra",
            f'2: kind: unknown kind "Zebra"; the kinds are {", ".join(dict.fromkeys(kind.kind for kind in KINDS))}',
        ),
        (
            "networking.istio.io/v2",
            "Sidecar",
            (
                '1: apiVersion: Sidecar has no API version "networking.istio.io/v2"; '
                "it has networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3"
            ),
        ),
        ("v2", "Service", '1: apiVersion: Service has no API version "v2"; it has v1'),
        (
            "authentication.istio.io/v1alpha1",
            "Policy",
            (
                "1: apiVersion: authentication.istio.io was removed in Istio 1.6: "
                "PeerAuthentication and RequestAuthentication (security.istio.io/v1) replace it"
            ),
        ),
        (
            "rbac.istio.io/v1alpha1",
            "ServiceRole",
            "1: apiVersion: rbac.istio.io was removed in Istio 1.6: AuthorizationPolicy (security.istio.io/v1) replaces it",
        ),
        (
            "config.istio.io/v1alpha2",
            "rule",
            (
                "1: apiVersion: config.istio.io was removed with Mixer in Istio 1.8: "
                "Telemetry, AuthorizationPolicy and EnvoyFilter replace its kinds"
            ),
        ),
        (
            "config.istio.io/v1alpha2",
            "RouteRule",
            "2: kind: was removed before Istio 1.0: VirtualService and DestinationRule (networking.istio.io/v1) replace it",
        ),
    ],
)
def test_unknown_kinds_and_versions(api_version: str, kind: str, said: str) -> None:
    text = f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n"
    line, _, rest = said.partition(": ")
    assert told(text) == [f"f.yaml:{line}: {kind}/a: {rest}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", ["f.yaml:1: a document must be a mapping with apiVersion and kind, not 'hello'"]),
        ("- a", ["f.yaml:1: a document must be a mapping with apiVersion and kind, not a list"]),
        ("a: b", ["f.yaml:1: apiVersion: required, as text", "f.yaml:1: kind: required, as text"]),
        ("apiVersion: 1\nkind: [x]", ["f.yaml:1: apiVersion: required, as text", "f.yaml:2: kind: required, as text"]),
        ("", []),
        ("# nothing\n---\n\n---\n", []),
        ("a: [\n", ["f.yaml:2: is not valid YAML: did not find expected node content, while parsing a flow node"]),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmeta: {}\n",
            [
                "f.yaml:1: DestinationRule: metadata: required",
                "f.yaml:1: DestinationRule: spec: required",
                'f.yaml:3: DestinationRule: meta: unknown field "meta"; did you mean "metadata"?',
            ],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {labels: {a b: c}, name: A_, Namespace: x}\nspec:\n",
            [
                'f.yaml:3: DestinationRule/A_: metadata.Namespace: unknown field "Namespace"; did you mean "namespace"?',
                "f.yaml:3: DestinationRule/A_: metadata.name: must be a name of lower-case letters, digits, '-' and '.', not 'A_'",
                (
                    'f.yaml:3: DestinationRule/A_: metadata.labels["a b"]: '
                    "is no label key: a key is letters, digits, '-', '_', '.', after an optional prefix and '/'"
                ),
                "f.yaml:4: DestinationRule/A_: spec.host: required",
            ],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {generateName: a-}\nspec: {host: a, host: b}\n",
            ["f.yaml:4: DestinationRule: spec.host: given twice; the first is in line 4"],
        ),
    ],
)
def test_what_is_no_document(text: str, said: list[str]) -> None:
    assert told(text) == said


def test_violations_of_a_file_are_told_at_once_and_in_order() -> None:
    text = document("VirtualService", "hosts: [a]") + "---\na: [\n---\n" + document("DestinationRule", "hosts: a") + "---\n"
    text += document("DestinationRule", "host: b", name="b")
    found = read(text, "f.yaml")
    assert [v.origin.line for v in found.violations] == [4, 8, 12, 13]
    assert [r.key.name for r in found.resources] == ["b"]


def test_bytes_are_read_as_utf_8() -> None:
    assert read(document("DestinationRule", "host: a").encode(), "f.yaml").resources
    (violation,) = read(b"a: \xff\xfe\n", "f.yaml").violations
    assert str(violation) == "f.yaml:1: is not text: it contains the character U+DCFF"


def test_the_published_style_of_samples() -> None:
    text = """\
# Copyright of someone
apiVersion: v1
kind: Service
metadata:
  name: productpage
  labels:
    app: productpage
    service: productpage
spec:
  ports:
  - port: 9080
    name: http
  selector:
    app: productpage
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: bookinfo-gateway
spec:
  # The selector matches the ingress gateway
  selector:
    istio: ingressgateway # use istio default controller
  servers:
  - port:
      number: 8080
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: bookinfo
spec:
  hosts:
  - "*"
  gateways:
  - bookinfo-gateway
  http:
  - match:
    - uri:
        exact: /productpage
    - uri:
        prefix: /static
    route:
    - destination:
        host: productpage
        port:
          number: 9080
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  trafficPolicy:
    loadBalancer:
      simple: RANDOM
  subsets:
  - name: v1
    labels:
      version: v1
---
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: httpbin-ext
spec:
  hosts:
  - httpbin.org
  ports:
  - number: 80
    name: http
    protocol: HTTP
  resolution: DNS
  location: MESH_EXTERNAL
"""
    found = read(text, "f.yaml")
    assert (found.violations, found.warnings) == ((), ())
    assert [r.key.kind for r in found.resources] == ["Service", "Gateway", "VirtualService", "DestinationRule", "ServiceEntry"]
