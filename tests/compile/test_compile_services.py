"""Where services and their endpoints come from."""

from __future__ import annotations

import pytest

from support.compiled import DOMAIN, built, cluster, endpoints, hosts, instance, problems, short, sidecar, warnings
from tulle.compile import view
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.proxy import ProxyView
from tulle.model.service import Health, Protocol, RegisteredPort, Registration, Resolution


def ports(seen: ProxyView, name: str) -> list[tuple[str, int]]:
    return [(e.address, e.port) for e in endpoints(seen, name)]


def test_registered_instances_make_a_service() -> None:
    one, two = instance("reviews", "v1", target=2001), instance("reviews", "v2", target=2002)
    seen = view(built("", two, one).mesh, sidecar())
    assert [(e.workload, e.port) for e in endpoints(seen, "reviews:9080")] == [("reviews-v1-default", 2001), ("reviews-v2-default", 2002)]
    assert cluster(seen, "reviews:9080").http
    assert not cluster(seen, "reviews:9080").http2
    assert cluster(seen, "reviews:9080").endpoints is None
    assert not problems(seen)


def test_each_port_has_its_own_endpoints() -> None:
    both = instance("a", "v1")
    more = instance("a", "v2", number=9090, protocol=Protocol.GRPC, name="grpc")
    seen = view(built("", both, more).mesh, sidecar())
    assert [e.workload for e in endpoints(seen, "a:9080")] == ["a-v1-default"]
    assert [e.workload for e in endpoints(seen, "a:9090")] == ["a-v2-default"]
    assert cluster(seen, "a:9090").http2


def test_a_critical_instance_takes_no_requests() -> None:
    ill, well = instance("a", "v1", health=Health.CRITICAL), instance("a", "v2", health=Health.WARNING)
    assert [e.workload for e in endpoints(view(built("", ill, well).mesh, sidecar()), "a:9080")] == ["a-v2-default"]


def test_every_instance_bears_its_service_as_label() -> None:
    bare = Registration(id="x", service="a", ports=(RegisteredPort(number=80, target=1),))
    assert endpoints(view(built("", bare).mesh, sidecar()), "a:80")[0].labels == {"app": "a"}


CORE = """
apiVersion: v1
kind: Service
metadata: {{name: reviews}}
spec: {{selector: {{{selector}}}, ports: [{ports}]}}
"""


@pytest.mark.parametrize(
    ("port", "name", "target"),
    [
        ("{port: 9080, name: http}", "reviews:9080", 1),
        ("{port: 80, name: http, targetPort: 9080}", "reviews:80", 1),
        ("{port: 80, name: http, targetPort: web}", "reviews:80", 1),
        ("{port: 80, name: web}", "reviews:80", 1),
        ("{port: 80, name: http, targetPort: 1234}", "reviews:80", None),
    ],
)
def test_a_core_service_finds_the_instance_s_port_by_target_number_or_name(port: str, name: str, target: int | None) -> None:
    one = Registration(id="x", service="other", labels=FrozenMap({"app": "r"}), ports=(RegisteredPort(number=9080, target=1, name="web"),))
    seen = view(built(CORE.format(selector="app: r", ports=port), one).mesh, sidecar())
    assert ports(seen, name) == ([("127.0.0.1", target)] if target else [])


def test_a_core_service_speaks_for_its_name() -> None:
    text = CORE.format(selector="version: v2", ports="{port: 9080, name: tcp-x}")
    seen = view(built(text, instance("reviews", "v1"), instance("reviews", "v2"), instance("other", "v2")).mesh, sidecar())
    assert sorted(e.workload for e in endpoints(seen, "reviews:9080")) == ["other-v2-default", "reviews-v2-default"]
    assert not cluster(seen, "reviews:9080").http


def test_a_core_service_without_selector_stands_for_what_registered_under_its_name() -> None:
    text = CORE.format(selector="", ports="{port: 80, targetPort: 9080, name: http}")
    assert [e.workload for e in endpoints(view(built(text, instance("reviews")).mesh, sidecar()), "reviews:80")] == ["reviews-v1-default"]


def test_instances_of_other_namespaces_are_not_selected() -> None:
    text = CORE.format(selector="app: reviews", ports="{port: 9080, name: http}")
    seen = view(built(text, instance("reviews"), instance("reviews", namespace="other")).mesh, sidecar())
    assert [e.workload for e in endpoints(seen, "reviews:9080")] == ["reviews-v1-default"]


def test_an_external_name_is_looked_up() -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: out}
spec: {type: ExternalName, externalName: example.com, ports: [{port: 80, name: http}]}
"""
    found = cluster(view(built(text).mesh, sidecar()), "out:80")
    assert found.resolution is Resolution.DNS
    assert [(e.address, e.port) for e in found.endpoints or ()] == [("example.com", 80)]


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: entry}}
spec:
  hosts: ["{host}"]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}, {{number: 9000, name: raw, protocol: TCP}}]
  {more}
"""


def entry(host: str, more: str) -> str:
    return ENTRY.format(host=host, more=more)


def test_static_endpoints_map_ports_by_name() -> None:
    more = "resolution: STATIC\n  "
    more += 'endpoints: [{address: 1.1.1.1, ports: {http: 81}, labels: {v: "1"}, locality: r/z/s, weight: 3}, {address: 1.1.1.2}]'
    seen = view(built(entry("a.com", more)).mesh, sidecar())
    assert ports(seen, "a.com:80") == [("1.1.1.1", 81), ("1.1.1.2", 8080)]
    assert ports(seen, "a.com:9000") == [("1.1.1.1", 9000), ("1.1.1.2", 9000)]
    first = endpoints(seen, "a.com:80")[0]
    assert (first.labels, first.locality, first.weight) == ({"v": "1"}, Locality(region="r", zone="z", subzone="s"), 3)


def test_dns_looks_up_the_host_itself_or_the_endpoints() -> None:
    alone = cluster(view(built(entry("a.com", "resolution: DNS")).mesh, sidecar()), "a.com:80")
    assert (alone.resolution, [(e.address, e.port) for e in alone.endpoints or ()]) == (Resolution.DNS, [("a.com", 8080)])
    given = cluster(
        view(built(entry("a.com", "resolution: DNS\n  endpoints: [{address: b.com}, {address: c.com}]")).mesh, sidecar()), "a.com:80"
    )
    assert [e.address for e in given.endpoints or ()] == ["b.com", "c.com"]


def test_logical_dns_has_exactly_one_name() -> None:
    one = cluster(view(built(entry("a.com", "resolution: DNS_ROUND_ROBIN")).mesh, sidecar()), "a.com:80")
    assert one.resolution is Resolution.DNS_ROUND_ROBIN
    none = "resolution: DNS_ROUND_ROBIN\n  workloadSelector: {labels: {app: none}}"
    subset = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a.com, subsets: [{name: empty, labels: {no: such}}]}
"""
    seen = view(built(entry("a.com", none) + subset).mesh, sidecar())
    assert cluster(seen, "a.com:80/empty").resolution is Resolution.DNS


def test_where_nothing_is_intercepted_a_service_without_resolution_is_dialled_by_its_name() -> None:
    assert cluster(view(built(entry("a.com", "")).mesh, sidecar()), "a.com:80").resolution is Resolution.DNS
    wild = view(built(entry("*.a.com", "")).mesh, sidecar())
    assert cluster(wild, "*.a.com:80").resolution is Resolution.DYNAMIC_DNS
    assert hosts(wild)["*.a.com:80"].domains == ("*.a.com", "*.a.com:80")
    fixed = view(built(entry("db.example", "addresses: [10.1.1.1, 10.2.0.0/16]")).mesh, sidecar())
    assert ports(fixed, "db.example:9000") == [("10.1.1.1", 9000)]
    assert "10.1.1.1:9000" in hosts(fixed)["db.example:9000"].domains


def test_a_workload_selector_picks_entries_and_registered_instances() -> None:
    text = (
        entry("a.com", "resolution: STATIC\n  location: MESH_INTERNAL\n  workloadSelector: {labels: {app: a}}")
        + """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1}
spec: {address: 2.2.2.2, labels: {app: a}, ports: {raw: 9999}, serviceAccount: robot}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm2, namespace: other}
spec: {address: 3.3.3.3, labels: {app: a}}
"""
    )
    one = Registration(id="x", service="s", labels=FrozenMap({"app": "a"}), ports=(RegisteredPort(number=8080, target=7),))
    seen = view(built(text, one).mesh, sidecar())
    assert ports(seen, "a.com:80") == [("127.0.0.1", 7), ("2.2.2.2", 8080)]
    assert ports(seen, "a.com:9000") == [("2.2.2.2", 9999)]
    assert endpoints(seen, "a.com:9000")[0].service_account == "robot"


def test_one_number_for_tcp_and_for_udp() -> None:
    text = CORE.format(selector="app: r", ports="{port: 53, name: dns, protocol: UDP}, {port: 53, name: tcp-dns}")
    seen = view(built(text).mesh, sidecar())
    assert sorted(short(c.name) for c in seen.clusters if "|53" in c.name) == ["reviews:53", "reviews:53/udp"]
    assert [name for name in hosts(seen) if name.endswith(":53")] == [f"reviews.default.{DOMAIN}:53"]


def test_sctp_ports_are_left_out_with_a_word() -> None:
    result = built(CORE.format(selector="app: r", ports="{port: 53, name: s, protocol: SCTP}, {port: 80, name: http}"))
    assert [c.name for c in view(result.mesh, sidecar()).clusters if "|53" in c.name] == []
    assert "SCTP is not in force: port 53 is left out" in warnings(result, "Service/reviews")[0]


def test_two_entries_of_one_namespace_for_one_host_are_one_service() -> None:
    second = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: second}
spec: {hosts: [a.com], resolution: STATIC, ports: [{number: 81, name: http2, protocol: HTTP2}], endpoints: [{address: 4.4.4.4}]}
"""
    seen = view(built(entry("a.com", "resolution: STATIC\n  endpoints: [{address: 1.1.1.1}]") + second).mesh, sidecar())
    assert ports(seen, "a.com:80") == [("1.1.1.1", 8080)]
    assert ports(seen, "a.com:81") == [("4.4.4.4", 81)]


def test_the_own_namespace_s_declaration_of_a_host_comes_first() -> None:
    def declared(namespace: str, address: str, export: str) -> str:
        return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: a, namespace: {namespace}}}
spec:
  hosts: [a.com]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: {address}}}]
  exportTo: ["{export}"]
"""

    mesh = built(declared("one", "1.1.1.1", "*") + declared("two", "2.2.2.2", ".")).mesh
    assert ports(view(mesh, sidecar("one")), "a.com:80") == [("1.1.1.1", 80)]
    assert ports(view(mesh, sidecar("two")), "a.com:80") == [("2.2.2.2", 80)]
    assert ports(view(mesh, sidecar("three")), "a.com:80") == [("1.1.1.1", 80)]


def test_an_endpoint_may_be_a_unix_socket() -> None:
    more = "resolution: STATIC\n  endpoints: [{address: 'unix:///run/x.sock'}]"
    text = entry("a.com", more).replace(", {number: 9000, name: raw, protocol: TCP}", "")
    seen = view(built(text).mesh, sidecar())
    assert ports(seen, "a.com:80") == [("/run/x.sock", 0)]
    assert cluster(seen, "a.com:80").resolution is Resolution.STATIC


def test_instances_that_are_registered_by_name_are_looked_up() -> None:
    one = Registration(id="x", service="a", address="host.example", ports=(RegisteredPort(number=80, target=1),))
    found = cluster(view(built("", one).mesh, sidecar()), "a:80")
    assert found.resolution is Resolution.DNS
    assert [e.address for e in found.endpoints or ()] == ["host.example"]


OF_ONE_HOST = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec: {{hosts: [api.example], {spec}}}
---
"""
OLDER = OF_ONE_HOST.format(name="first", spec="resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]", []),
        ("resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]", []),
        ("resolution: DNS, ports: [{number: 443, name: raw, protocol: TCP}]", ["ports[0]"]),
        ("resolution: DYNAMIC_DNS, location: MESH_INTERNAL, ports: [{number: 80, name: a, protocol: HTTP}]", ["resolution", "location"]),
        (
            "resolution: DNS, exportTo: [.], subjectAltNames: [a.example], addresses: [10.0.0.1], ports: [{number: 80, name: a}]",
            ["exportTo", "addresses", "subjectAltNames"],
        ),
    ],
)
def test_what_an_older_document_says_of_a_host_otherwise_is_told(spec: str, said: list[str]) -> None:
    """Its ports stand beside those of the older one."""
    result = built(OLDER + OF_ONE_HOST.format(name="second", spec=spec))
    why = ": not in force: ServiceEntry default/first (rules.yaml:4) speaks for host api.example"
    found = [w.partition(": spec.")[2] for w in warnings(result, "ServiceEntry/second")]
    assert found == [field + why for field in said]
    assert warnings(result, "ServiceEntry/first") == []
    assert any(c.name == "outbound|80||api.example" for c in view(result.mesh, sidecar()).clusters) is ("number: 80" in spec)


ELSEWHERE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: impostor, namespace: eve}
spec:
  hosts: [web.default.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.9}]
"""


@pytest.mark.parametrize(("caller", "address"), [("default", "127.0.0.1"), ("other", "127.0.0.1"), ("eve", "192.0.2.9")])
def test_who_writes_documents_of_one_namespace_takes_no_callers_from_services_of_another(caller: str, address: str) -> None:
    """Only those of its own, however old the document is."""
    seen = view(built(ELSEWHERE, instance("web", "v1")).mesh, sidecar(namespace=caller))
    assert [e.address for e in endpoints(seen, "web:9080")] == [address]


def test_who_has_no_address_is_no_endpoint() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.example]
  ports: [{number: 80, name: http}]
  resolution: STATIC
  endpoints: [{network: elsewhere}, {address: 10.0.0.1}]
"""
    (found,) = (group for group in view(built(text).mesh, sidecar()).endpoints if "far.example" in group.name)
    assert [e.address for e in found.endpoints] == ["10.0.0.1"]
