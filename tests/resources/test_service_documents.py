"""ServiceEntry, WorkloadEntry and Kubernetes' Service: what is accepted and what is said of the rest."""

from __future__ import annotations

import pytest

from support.reading import cases, spec_of, wrong
from tulle.resources.core import KubernetesService, ServiceType, Transport
from tulle.resources.networking import ServiceEntry, WorkloadEntry
from tulle.resources.networking.service_entry import Location, Resolution

ENTRY = """
hosts: [api.example.com, "*.example.org", "*x"]
addresses: [1.2.3.4, 001:db8::, 10.0.0.0/8]
ports:
- {number: 443, name: https, protocol: HTTPS, targetPort: 8443}
- {number: 80, name: plain}
location: MESH_INTERNAL
resolution: STATIC
exportTo: [foo, .]
subjectAltNames: [sa]
endpoints:
- {address: 10.0.0.1, ports: {https: 8443}, labels: {version: v1}, network: n, locality: r/z/s, weight: 20, serviceAccount: sa}
- address: unix:///run/x.sock
"""


def test_every_field_of_service_entry_is_read() -> None:
    spec: ServiceEntry = spec_of("ServiceEntry", ENTRY)
    assert (spec.location, spec.resolution) == (Location.MESH_INTERNAL, Resolution.STATIC)
    assert spec.addresses == ("1.2.3.4", "001:db8::", "10.0.0.0/8")
    assert spec.ports[0].target_port == 8443
    assert spec.endpoints[0].ports == {"https": 8443}
    assert spec.endpoints[1].is_unix


def test_service_entry_by_selector() -> None:
    spec: ServiceEntry = spec_of("ServiceEntry", "hosts: [a]\nexportTo: ['~']\nworkloadSelector: {labels: {app: a}}\nresolution: 1")
    assert spec.workload_selector and spec.workload_selector.labels == {"app": "a"}
    assert (spec.location, spec.resolution) == (Location.MESH_EXTERNAL, Resolution.STATIC)


@pytest.mark.parametrize("spec", ["hosts: [a]\nworkloadSelector: {}", "hosts: ['*x']", "hosts: [a]\naddresses: [1.1.1.1/32]"])
def test_odd_but_valid(spec: str) -> None:
    assert spec_of("ServiceEntry", spec)


BAD_ENTRY = """
{}
=>
4: spec.hosts: required
====
hosts: []
=>
5: spec.hosts: must have at least one item
====
hosts: ["*", a, a]
ports: [{number: 80, name: a}, {number: 80, name: a}, {number: 81, name: b, protocol: SMTP}]
=>
6: spec.ports[2].protocol: must be one of GRPC, GRPC-WEB, HTTP, HTTP2, HTTPS, HTTP_PROXY, MONGO, MYSQL, REDIS, TCP, TLS, UDP, not 'SMTP'
====
hosts: ["*", a, a]
ports: [{number: 80, name: a}, {number: 80, name: a}]
exportTo: ["~", "*"]
=>
5: spec.hosts[0]: must not be "*" alone
5: spec.hosts[2]: 'a' is given twice
6: spec.ports[1].number: 80 is taken by an earlier item
6: spec.ports[1].name: 'a' is taken by an earlier item
7: spec.exportTo[0]: "~" must stand alone
7: spec.exportTo[1]: "*" must stand alone
====
hosts: [a]
ports: [{number: 99999, name: a}, {number: 1, targetPort: 99999}]
addresses: [1.2.3.4/99, x]
location: NOWHERE
=>
6: spec.ports[0].number: must be between 1 and 65535, not 99999
6: spec.ports[1].name: required
6: spec.ports[1].targetPort: must be between 1 and 65535, not 99999
7: spec.addresses[0]: must be an IP address or a range such as 10.0.0.0/8, not '1.2.3.4/99'
7: spec.addresses[1]: must be an IP address or a range such as 10.0.0.0/8, not 'x'
8: spec.location: must be one of MESH_EXTERNAL, MESH_INTERNAL, not 'NOWHERE'
====
hosts: [a]
workloadSelector: {}
endpoints: [{address: 1.2.3.4}]
resolution: STATIC
=>
4: spec: set only one of endpoints, workloadSelector
====
hosts: [a]
workloadSelector: {labels: {app: "*"}}
=>
6: spec.workloadSelector.labels.app: must be a label value (letters, digits, '-', '_' and '.', at most 63), not '*'
====
hosts: [a]
endpoints: [{address: 1.2.3.4}]
=>
6: spec.endpoints: must not be set where resolution is NONE
====
hosts: ["*.a"]
addresses: [1.2.0.0/16]
resolution: DNS
=>
5: spec.hosts[0]: must not be a wildcard where resolution is DNS and there are no endpoints
6: spec.addresses[0]: must not be a range where resolution is DNS
====
hosts: [a]
resolution: DNS_ROUND_ROBIN
endpoints: [{address: a.example.com}, {address: unix:///x}]
=>
7: spec.endpoints: must have at most one item where resolution is DNS_ROUND_ROBIN
7: spec.endpoints[1].address: must not be a Unix socket where resolution is DNS_ROUND_ROBIN
====
hosts: [a]
resolution: STATIC
ports: [{number: 80, name: http}]
endpoints: [{address: a.example.com, ports: {https: 1}}]
=>
8: spec.endpoints[0].ports.https: is no port of this ServiceEntry
8: spec.endpoints[0].address: must be an IP address where resolution is STATIC, not 'a.example.com'
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD_ENTRY))
def test_violations_of_service_entry(spec: str, expected: list[str]) -> None:
    assert wrong("ServiceEntry", spec) == expected


def test_every_field_of_workload_entry_is_read() -> None:
    spec: WorkloadEntry = spec_of(
        "WorkloadEntry",
        "address: 1.2.3.4\nserviceAccount: sa\nnetwork: net\nlabels: {app: app}\nports: {http: 1}\nweight: 2\nlocality: foo/bar/baz",
    )
    assert (spec.address, spec.ports, spec.weight, spec.locality, spec.service_account) == ("1.2.3.4", {"http": 1}, 2, "foo/bar/baz", "sa")


@pytest.mark.parametrize(
    "spec", ["network: net", "address: unix://@foo", "address: unix:///foo/bar", "address: example.com", "address: ::1"]
)
def test_addresses_of_workloads(spec: str) -> None:
    assert spec_of("WorkloadEntry", spec)


BAD_WORKLOAD = """
{}
=>
4: spec.address: required
====
address: unix:///dir/
=>
5: spec.address: must name an absolute path after unix://, not 'unix:///dir/'
====
address: unix://relative
=>
5: spec.address: must name an absolute path after unix://, not 'unix://relative'
====
address: unix://@foo
ports: {http: 80}
=>
6: spec.ports: must not be set for a Unix socket
====
address: "not a host"
ports: {http: 99999, "@": 80}
=>
6: spec.ports.http: must be between 1 and 65535, not 99999
====
address: "not a host"
ports: {"@": 80}
weight: -1
=>
7: spec.weight: must be between 0 and 4294967295, not -1
====
address: "not a host"
ports: {"@": 80}
=>
5: spec.address: must be an IP address, a host name or unix:///path, not 'not a host'
6: spec.ports["@"]: is no name of a port: it takes letters, digits and '-'
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD_WORKLOAD))
def test_violations_of_workload_entry(spec: str, expected: list[str]) -> None:
    assert wrong("WorkloadEntry", spec) == expected


def test_kubernetes_service() -> None:
    spec: KubernetesService = spec_of(
        "Service",
        """
        selector: {app: reviews}
        clusterIP: None
        ports:
        - {name: http, port: 9080, targetPort: web, protocol: TCP, appProtocol: http, nodePort: 30000}
        - {name: dns, port: 9080, protocol: UDP, targetPort: 53}
        """,
        api_version="v1",
    )
    assert [(p.port, p.target_port, p.protocol) for p in spec.ports] == [(9080, "web", Transport.TCP), (9080, 53, Transport.UDP)]
    assert (spec.cluster_ip, spec.type) == ("None", ServiceType.CLUSTER_IP)


BAD_SERVICE = """
selector: {app: a}
=>
4: spec.ports: must have at least one item
====
type: ExternalName
=>
4: spec.externalName: required where type is ExternalName
====
type: Loadbalancer
ports: [{port: 0, targetPort: 70000, protocol: ICMP}, {name: A}]
clusterIp: None
=>
6: spec.ports[0].port: must be between 1 and 65535, not 0
6: spec.ports[0].targetPort: must be a port number or the name of a port, not 70000
6: spec.ports[0].protocol: must be one of TCP, UDP, SCTP, not 'ICMP'
6: spec.ports[1].name: must be a name of lower-case letters, digits and '-', at most 63, not 'A'
6: spec.ports[1].port: required
5: spec.type: must be one of ClusterIP, NodePort, LoadBalancer, ExternalName, not 'Loadbalancer'
7: spec.clusterIp: unknown field "clusterIp"; did you mean "clusterIP"?
====
ports: [{port: 80}, {port: 80, name: a}, {port: 81, name: a}]
=>
5: spec.ports[0].name: required where a service has several ports
5: spec.ports[1].port: 80 is taken by an earlier port
5: spec.ports[2].name: the name "a" is taken by an earlier port
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD_SERVICE))
def test_violations_of_kubernetes_service(spec: str, expected: list[str]) -> None:
    assert wrong("Service", spec, api_version="v1") == sorted(expected, key=lambda line: int(line.split(":")[0]))
