"""What is valid but not in force is said, with its place."""

from __future__ import annotations

from warnings import catch_warnings, simplefilter

import pytest

from support.reading import document, good, warned
from tulle.resources.pending import PENDING, warnings

SHOWS_NONE = "mode SIMPLE shows no certificate: clientCertificate and privateKey have no effect; MUTUAL shows one"
NO_INTERVAL = "http.http2KeepAlive: has no effect without interval: nothing is sent that could be answered"
ROUTE = "route: [{destination: {host: a}}]"


def served_tls(settings: str) -> str:
    return f"servers: [{{port: {{number: 1, name: a, protocol: TLS}}, hosts: [a], tls: {{{settings}}}}}]"


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("VirtualService", "hosts: [a]\nhttp: [{" + ROUTE + ", fault: {abort: {http2Error: X, percentage: {value: 1}}}}]",
         "spec.http[0].fault.abort.http2Error: not in force: no request is aborted by it"),
        ("VirtualService", "hosts: [a]\nhttp: [{" + ROUTE + ", fault: {delay: {exponential_delay: 1s, percent: 1}}}]",
         "spec.http[0].fault.delay.exponential_delay: not in force: no request is delayed by it"),
        ("VirtualService", "hosts: [a]\nhttp: [{" + ROUTE + ", fault: {abort: {percentage: {value: 1}}}}]",
         "spec.http[0].fault.abort: sets no httpStatus and no grpcStatus: nothing is aborted"),
        ("VirtualService", "hosts: [a]\nhttp: [{" + ROUTE + ", fault: {delay: {fixedDelay: 1s}}}]",
         "spec.http[0].fault.delay: sets no percentage: nothing is delayed"),
        ("DestinationRule", "host: a\ntrafficPolicy: {loadBalancer: {zoneAwareLbSetting: {}, localityLbSetting: {}}}",
         "spec.trafficPolicy.loadBalancer: localityLbSetting is not in force beside zoneAwareLbSetting"),
        ("DestinationRule", "host: a\ntrafficPolicy: {loadBalancer: {consistentHash: {}}}",
         "spec.trafficPolicy.loadBalancer.consistentHash: names nothing to hash: callers are told apart by their address"),
        ("ServiceEntry", "hosts: [a]\naddresses: [1.1.1.1]",
         "spec.addresses[0]: not in force: connections to addresses are not intercepted; call the hosts by name"),
        ("ServiceEntry", "hosts: [a]\nresolution: DYNAMIC_DNS\nendpoints: [{address: a}]",
         "spec: looks up the name that is called, with DYNAMIC_DNS: endpoints and workloadSelector have no effect"),
        ("VirtualService", "hosts: [a]\nhttp: [{redirect: {uri: /x}, timeout: 1s}]",
         "spec.http[0]: answers by itself: timeout and retries have no effect"),
        ("VirtualService", "hosts: [a]\nhttp: [{" + ROUTE + ", mirror_percent: 10}]",
         "spec.http[0]: has a percentage for a mirror and no mirror: nothing is mirrored by it"),
        ("VirtualService", "hosts: [a]\nhttp: [{match: [{uri: {regex: /x}, ignoreUriCase: true}], " + ROUTE + "}]",
         "spec.http[0].match[0]: ignoreUriCase has no effect on a regex; begin it with (?i)"),
        ("DestinationRule", "host: a\ntrafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}}",
         "spec.trafficPolicy.loadBalancer: warms nothing up: only ROUND_ROBIN and LEAST_REQUEST do"),
        ("ServiceEntry", "hosts: [a]\nports: [{number: 1, name: a, protocol: GRPC-WEB}]\nresolution: DNS",
         "spec.ports[0].protocol: not in force: it is passed on as it comes, not turned into gRPC"),
        ("WorkloadEntry", "{address: a, network: n}", "spec.network: not in force: the workload is dialled directly"),
        ("VirtualService", "hosts: [a]\nhttp: [{redirect: {uri: /x}, mirrors: [{destination: {host: b}}]}]",
         "spec.http[0]: answers by itself: nothing is mirrored"),
        ("Gateway", served_tls("mode: AUTO_PASSTHROUGH, cipherSuites: [AES128-SHA]"),
         "spec.servers[0].tls: passes TLS on with this mode: certificates, versions, cipher suites and curves have no effect"),
        ("Gateway", served_tls("server_certificate: /a"),
         "spec.servers[0].tls: passes TLS on with this mode: certificates, versions, cipher suites and curves have no effect"),
        ("Gateway", served_tls("mode: SIMPLE, credentialName: a, subjectAltNames: [b]"),
         "spec.servers[0].tls: mode SIMPLE asks callers for no certificate: what is said of theirs has no effect"),
        ("DestinationRule", "host: a\ntrafficPolicy: {tls: {sni: b}}",
         "spec.trafficPolicy.tls: mode DISABLE speaks no TLS: the other settings have no effect"),
        ("DestinationRule", "host: a\ntrafficPolicy: {portLevelSettings: [{port: {number: 1}, tls: {mode: SIMPLE, privateKey: /c}}]}",
         f"spec.trafficPolicy.portLevelSettings[0].tls: {SHOWS_NONE}"),
        ("DestinationRule", "host: a\ntrafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [b]}}",
         "spec.trafficPolicy.tls: insecureSkipVerify takes every certificate for the right one: subjectAltNames and caCrl have no effect"),
        ("DestinationRule", "host: a\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCrl: /a}}",
         "spec.trafficPolicy.tls: mode ISTIO_MUTUAL trusts the mesh's authority: caCrl and insecureSkipVerify have no effect"),
        ("DestinationRule", "host: a\ntrafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: false}}}",
         "spec.trafficPolicy.loadBalancer.consistentHash: names nothing to hash: callers are told apart by their address"),
        ("DestinationRule", "host: a\ntrafficPolicy: {connectionPool: {http: {http2KeepAlive: {timeout: 1s}}}}",
         f"spec.trafficPolicy.connectionPool.{NO_INTERVAL}"),
        ("Sidecar", "inboundConnectionPool: {http: {http2KeepAlive: {timeout: 1s}}}", f"spec.inboundConnectionPool.{NO_INTERVAL}"),
        ("DestinationRule", "host: a\nexportTo: [b]\nworkloadSelector: {matchLabels: {a: b}}",
         "spec: workloadSelector chooses workloads of the document's own namespace: exportTo has no effect"),
        ("ServiceEntry", "hosts: [a]\nworkloadSelector: {labels: {a: b}}",
         "spec: goes to the very address that is called, with resolution NONE: workloadSelector has no effect"),
        ("Sidecar", "ingress: [{port: {number: 1}, captureMode: IPTABLES}]",
         "spec.ingress[0].captureMode: not in force: nothing is intercepted"),
    ],
)  # fmt: skip
def test_warnings(kind: str, spec: str, said: str) -> None:
    assert warned(kind, spec) == [said]


def test_a_patch_that_says_twice_where_a_filter_goes() -> None:
    patch = "configPatches: [{applyTo: HTTP_FILTER, patch: {operation: %s, filterClass: AUTHN, value: {name: a}}}]"
    api = "networking.istio.io/v1alpha3"
    why = "spec.configPatches[0].patch: says where to put the filter: filterClass has no effect"
    assert warned("EnvoyFilter", patch % "INSERT_FIRST", api_version=api) == [why]
    assert warned("EnvoyFilter", patch % "ADD", api_version=api) == []


def test_who_has_no_address() -> None:
    assert warned("WorkloadEntry", "network: n")[:1] == ["spec: has no address: nobody can call it"]
    said = warned("ServiceEntry", "hosts: [a]\nresolution: STATIC\nendpoints: [{network: n}]")
    assert "spec.endpoints[0]: has no address: nobody can call it" in said


def test_services_of_kubernetes() -> None:
    spec = "type: LoadBalancer\nports: [{port: 1, nodePort: 30000}]\nexternalTrafficPolicy: Local"
    assert warned("Service", spec, api_version="v1") == [
        "spec.type: has no effect outside Kubernetes: a Gateway makes services reachable",
        "spec.ports[0].nodePort: has no effect outside Kubernetes",
        "spec.externalTrafficPolicy: has no effect outside Kubernetes",
    ]


def test_a_gateway_that_serves_tls() -> None:
    server = "servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {%s}}]"
    assert warned("Gateway", server % "mode: SIMPLE, credentialName: c") == []
    assert warned("Gateway", server % "mode: ISTIO_MUTUAL") == []
    assert warned("Gateway", server % "mode: SIMPLE, credentialName: c, cipherSuites: [AES128-SHA, ROT13], ecdhCurves: [P-1, X25519]") == [
        "spec.servers[0].tls.cipherSuites[1]: not in force: the proxy knows no cipher suite of this name",
        "spec.servers[0].tls.ecdhCurves[0]: not in force: the proxy knows no curve of this name",
    ]


SECRETS = "takes its certificates from Secrets: serverCertificate, privateKey and caCertificates have no effect"
ONE_SECRET = "takes the authority for callers from a Secret: caCertificates has no effect"
PAIRS = "takes its certificates from tlsCertificates: serverCertificate and privateKey have no effect"
OF_THE_MESH = (
    "mode ISTIO_MUTUAL trusts the mesh's authority: "
    "caCrl, verifyCertificateSpki, verifyCertificateHash and insecureSkipVerify have no effect"
)
NO_SUITES = "begins with TLS 1.3, whose cipher suites are not chosen: cipherSuites has no effect"
TWO = "tlsCertificates: [{serverCertificate: /a, privateKey: /b}]"


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("mode: SIMPLE, credentialName: c, serverCertificate: /a, privateKey: /b", SECRETS),
        ("mode: MUTUAL, credentialNames: [c], caCertificates: /a", SECRETS),
        ("mode: MUTUAL, credentialName: c, caCertificates: /a, caCertCredentialName: c", SECRETS),
        ("mode: OPTIONAL_MUTUAL, serverCertificate: /a, privateKey: /b, caCertificates: /a, caCertCredentialName: c", ONE_SECRET),
        (f"mode: SIMPLE, serverCertificate: /a, privateKey: /b, {TWO}", PAIRS),
        (f"mode: ISTIO_MUTUAL, verifyCertificateHash: [{'a' * 64}]", OF_THE_MESH),
        ("mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, cipherSuites: [AES128-SHA]", NO_SUITES),
        ("mode: MUTUAL, serverCertificate: /a, privateKey: /b, caCertificates: /c", None),
        ("mode: MUTUAL, serverCertificate: /a, privateKey: /b, caCertCredentialName: c", None),
        (f"mode: SIMPLE, {TWO}", None),
        ("mode: ISTIO_MUTUAL, cipherSuites: [AES128-SHA], subjectAltNames: ['spiffe://a/b']", None),
    ],
)
def test_settings_of_a_server_that_do_not_go_together(tls: str, said: str | None) -> None:
    server = f"servers: [{{port: {{number: 443, name: a, protocol: HTTPS}}, hosts: ['*'], tls: {{{tls}}}}}]"
    assert warned("Gateway", server) == ([f"spec.servers[0].tls: {said}"] if said else [])


def test_redirects_are_for_plain_http() -> None:
    server = "servers: [{port: {number: 443, name: a, protocol: %s}, hosts: ['*'], tls: {mode: PASSTHROUGH, httpsRedirect: %s}}]"
    why = "spec.servers[0]: tls.httpsRedirect has no effect where the protocol is HTTPS or TLS: it is for a server of plain HTTP"
    assert warned("Gateway", server % ("HTTPS", "true")) == warned("Gateway", server % ("tls", "true")) == [why]
    assert warned("Gateway", server % ("HTTPS", "false")) == warned("Gateway", server % ("HTTP", "true")) == []


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("DestinationRule", "host: a\ntrafficPolicy: {tls: {mode: DISABLE}}"),
        ("DestinationRule", "host: a\ntrafficPolicy: {tls: {mode: 0}}"),
        ("DestinationRule", "host: a\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL}}"),
        ("DestinationRule", "host: a\ntrafficPolicy: {tls: null, loadBalancer: {simple: RANDOM}}"),
        ("WorkloadEntry", "address: 1.1.1.1\nserviceAccount: n"),
        ("Gateway", "servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}]"),
        ("Sidecar", "egress: [{hosts: [./*], captureMode: DEFAULT}]"),
        ("VirtualService", "hosts: [a]\nhttp: [{" + ROUTE + ", fault: {delay: {fixedDelay: 1s, percent: 1}}}]"),
    ],
)
def test_what_is_in_force_is_not_warned_of(kind: str, spec: str) -> None:
    assert warned(kind, spec) == []


def test_the_warnings_of_a_resource_can_be_told_again() -> None:
    resource = good(document("WorkloadEntry", "address: 1.1.1.1\nnetwork: n"))
    assert [str(w) for w in warnings(resource)] == [
        "f.yaml:6: WorkloadEntry/a: spec.network: not in force: the workload is dialled directly"
    ]


def test_every_entry_names_a_field_of_its_kind() -> None:
    """A path that no document can have would be a promise that nobody keeps."""
    from tulle.resources.kinds import kind_of

    for kind, entries in PENDING.items():
        known = kind_of(kind)
        assert known is not None
        with catch_warnings():
            simplefilter("ignore")  # of defaults that JSON cannot say
            schema = known.spec.model_json_schema()
        for entry in entries:
            path = entry.path.replace("[]", ".[]").split(".") if entry.path else []
            assert _has(schema, schema, path, known.spec.tolerated), entry.path


_INSIDE = {"[]": "items", "*": "additionalProperties"}


def _has(root: dict, schema: dict, path: list[str], tolerated: frozenset[str]) -> bool:
    choices = [schema, *schema.get("anyOf", [])]
    choices = [root["$defs"][c["$ref"].rpartition("/")[2]] if "$ref" in c else c for c in choices]
    if not path:
        return True
    head, *rest = path
    for choice in choices:
        inner = choice.get(_INSIDE[head]) if head in _INSIDE else choice.get("properties", {}).get(head)
        if inner is not None and _has(root, inner, rest, tolerated):
            return True
    return head in tolerated or (head, *rest) == ("nodePort",)
