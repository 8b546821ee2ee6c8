"""Every form of name and every type of record, each with what it answers."""

from __future__ import annotations

import random
from collections import Counter

import dns.flags
import pytest

from support.compiled import built, instance
from support.zones import NOW, ask, code, texts, zone
from tulle.dns.rules import Rules
from tulle.model.service import Health

WEB = {"A 10.0.0.1", "A 10.9.9.9"}
SOA = [f"SOA ns.consul. hostmaster.consul. {NOW} 3600 600 86400 0"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.service.consul", WEB),
        ("WEB.Service.CONSUL", WEB),
        ("web.service.dc1.consul", WEB),
        ("web.service.dc1.dc.consul", WEB),
        ("web.service.default.ns.consul", WEB),
        ("web.service.shop.ns.dc1.dc.consul", {"A 10.7.7.7"}),
        ("v1.web.service.consul", {"A 10.0.0.1"}),
        ("primary.web.service.consul", {"A 10.0.0.1"}),
        ("eu.west.web.service.consul", {"A 10.9.9.9"}),
        ("_web._tcp.service.consul", WEB),
        ("_web._v2.service.consul", {"A 10.9.9.9"}),
        ("_web._v2.service.dc1.consul", {"A 10.9.9.9"}),
        ("_web._tcp.consul", WEB),
        ("_web._v1.dc1.consul", {"A 10.0.0.1"}),
        ("web.connect.consul", {"A 10.0.0.1"}),
        ("alpha.node.consul", {"A 10.0.0.1"}),
        ("beta.node.dc1.consul", {"A 10.0.0.2"}),
        ("0a000001.addr.consul", {"A 10.0.0.1"}),
        ("0A000001.addr.dc1.consul", {"A 10.0.0.1"}),
        ("ns.consul", {"A 10.0.0.1"}),
        ("far.service.consul", {"CNAME far.example.com."}),
        ("aliased.node.consul", {"CNAME elsewhere.example.com."}),
        ("near.service.consul", {"CNAME web.service.consul.", *WEB}),
    ],
)
def test_addresses(name: str, expected: set[str]) -> None:
    answer = ask(name)
    assert (code(answer), set(texts(answer.answer))) == ("NOERROR", expected)
    assert answer.flags & dns.flags.AA


@pytest.mark.parametrize(
    "name",
    [
        "nobody.service.consul",
        "dead.service.consul",
        "v9.web.service.consul",
        "_web._v9.service.consul",
        "web.service.dc2.consul",
        "web.service.dc1.dc2.consul",
        "web.service.nowhere.ns.consul",
        "gamma.node.consul",
        "alpha.node.dc2.consul",
        "nobody.query.consul",
        "web.virtual.consul",
        "service.consul",
        "web.consul",
        "_web.consul",
        "deep.down.web.consul",
        "0a0000.addr.consul",
        "0a00000g.addr.consul",
        "x.0a000001.addr.consul",
        "nobody.default.svc.cluster.local",
        "nobody.nowhere.svc.cluster.local",
    ],
)
@pytest.mark.parametrize("type_", ["A", "AAAA", "SRV", "ANY", "TXT"])
def test_names_that_there_are_not(name: str, type_: str) -> None:
    answer = ask(name, type_)
    assert (code(answer), answer.answer) == ("NXDOMAIN", [])
    assert [text.split()[0] for text in texts(answer.authority)] == ["SOA"]


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("web.service.consul", "AAAA"),
        ("six.service.consul", "A"),
        ("alpha.node.consul", "AAAA"),
        ("alpha.node.consul", "SRV"),
        ("alpha.node.consul", "MX"),
        ("0a000001.addr.consul", "AAAA"),
        ("web.service.consul", "MX"),
        ("web.service.consul", "SOA"),
        ("consul", "A"),
        ("1.0.0.10.in-addr.arpa", "A"),
    ],
)
def test_names_without_what_is_asked_for(name: str, type_: str) -> None:
    answer = ask(name, type_)
    assert (code(answer), answer.answer, texts(answer.authority)) == ("NOERROR", [], SOA)


def test_addresses_of_the_sixth_version() -> None:
    assert texts(ask("six.service.consul", "AAAA").answer) == ["AAAA 2001:db8::6"]
    assert texts(ask("six.example.node.consul", "AAAA").answer) == ["AAAA 2001:db8::6"]
    assert texts(ask(f"{'20010db8' + '0' * 23}6.addr.consul", "AAAA").answer) == ["AAAA 2001:db8::6"]
    assert code(ask("nobody.service.consul", "AAAA")) == "NXDOMAIN"


def test_ports_with_the_names_of_where_they_are() -> None:
    answer = ask("web.service.consul", "SRV", edns=4096)
    assert set(texts(answer.answer)) == {"SRV 1 5 8080 Alpha.node.dc1.consul.", "SRV 1 3 8081 0a090909.addr.dc1.consul."}
    added = {(str(rrset.name), text) for rrset in answer.additional for text in texts([rrset])}
    assert {("Alpha.node.dc1.consul.", "A 10.0.0.1"), ("0a090909.addr.dc1.consul.", "A 10.9.9.9")} <= added
    assert texts(ask("far.service.consul", "SRV").answer) == ["SRV 1 1 443 far.example.com."]


def test_the_names_in_ports_resolve() -> None:
    answer = ask("web.service.consul", "SRV", edns=4096)
    found = {text for rrset in answer.answer for data in rrset for text in texts(ask(str(data.target)).answer)}
    assert found == WEB


def test_what_is_known_of_a_machine() -> None:
    assert set(texts(ask("alpha.node.consul", "TXT").answer)) == {'TXT "rack=7"', 'TXT "plain words"'}
    assert set(texts(ask("alpha.node.consul", "ANY").answer)) == {"A 10.0.0.1", 'TXT "rack=7"', 'TXT "plain words"'}
    assert set(texts(ask("alpha.node.consul").additional)) == {'TXT "rack=7"', 'TXT "plain words"'}
    assert ask("alpha.node.consul", rules=Rules(node_meta_txt=False)).additional == []
    assert set(texts(ask("v1.web.service.consul", "ANY").answer)) == {"A 10.0.0.1", 'TXT "rack=7"', 'TXT "plain words"'}


def test_the_domain_itself() -> None:
    assert texts(ask("consul", "SOA").answer) == SOA
    servers = ask("consul", "NS")
    assert texts(servers.answer) == ["NS Alpha.node.dc1.consul."]
    assert texts(servers.additional) == ["A 10.0.0.1"]
    assert set(texts(ask("consul", "ANY").answer)) == {*SOA, "NS Alpha.node.dc1.consul."}


def test_names_of_addresses() -> None:
    assert texts(ask("1.0.0.10.in-addr.arpa", "PTR").answer) == ["PTR Alpha.node.dc1.consul."]
    assert texts(ask("9.9.9.10.in-addr.arpa", "PTR").answer) == ["PTR web.service.dc1.consul."]
    nibbles = ".".join(reversed("20010db8" + "0" * 23 + "6"))
    assert texts(ask(f"{nibbles}.ip6.arpa", "PTR").answer) == ["PTR six.example.node.dc1.consul."]


@pytest.mark.parametrize("name", ["example.com", "4.3.2.1.in-addr.arpa", "consul.example", ".", "notconsul", "999.0.0.10.in-addr.arpa"])
def test_what_is_not_ours_is_refused(name: str) -> None:
    answer = ask(name)
    assert (code(answer), bool(answer.flags & dns.flags.AA), bool(answer.flags & dns.flags.RA)) == ("REFUSED", False, False)


def test_an_alias_of_itself_ends() -> None:
    assert texts(ask("loop.service.consul").answer) == []
    assert texts(ask("ping.service.consul").answer) == ["CNAME pong.service.consul.", "CNAME ping.service.consul."]


def test_only_passing() -> None:
    rules = Rules(only_passing=True)
    assert texts(ask("web.service.consul", rules=rules).answer) == ["A 10.0.0.1"]
    assert code(ask("v2.web.service.consul", rules=rules)) == "NXDOMAIN"


def test_times_to_live() -> None:
    rules = Rules(node_ttl=7, service_ttl={"web": 11, "w*": 12, "six*": 13, "*": 14}, soa_min_ttl=15)
    found = {name: ask(name, type_, rules=rules).answer[0].ttl for name, type_ in _LIVED}
    assert found == {"web.service.consul": 11, "six.service.consul": 13, "far.service.consul": 14, "alpha.node.consul": 7, "consul": 15}
    assert ask("nobody.service.consul", rules=rules).authority[0].ttl == 15


_LIVED = (
    ("web.service.consul", "A"),
    ("six.service.consul", "AAAA"),
    ("far.service.consul", "A"),
    ("alpha.node.consul", "A"),
    ("consul", "SOA"),
)


def test_another_domain_and_a_second_name_for_it() -> None:
    rules = Rules(domain="corp.example", alt_domain="alt.example", datacenter="eu")
    assert set(texts(ask("web.service.corp.example", rules=rules).answer)) == WEB
    assert set(texts(ask("web.service.eu.alt.example", rules=rules).answer)) == WEB
    assert code(ask("web.service.consul", rules=rules)) == "REFUSED"


def test_every_order_is_given() -> None:
    dice = random.Random(3)
    first = Counter(texts(ask("web.service.consul", seed=dice.randrange(2**32)).answer)[0] for _ in range(200))
    assert set(first) == WEB
    assert min(first.values()) > 60


MESH = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec:
  clusterIP: 10.96.0.5
  selector: {app: shop}
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: default}
spec: {type: ExternalName, externalName: api.example.com, ports: [{port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: default}
spec:
  hosts: [bank.example.com, "*.wild.example.com"]
  addresses: [240.1.1.1]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: looked-up, namespace: default}
spec:
  hosts: [looked-up.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
"""


def test_names_of_the_mesh() -> None:
    found = zone(
        compiled=built(
            MESH, instance("reviews", "v1", target=41), instance("reviews", "v2", target=42), instance("gone", health=Health.CRITICAL)
        ).mesh
    )
    domain = "svc.cluster.local"
    assert texts(ask(f"reviews.default.{domain}", of=found).answer) == ["A 127.0.0.1"]
    assert ask(f"reviews.default.{domain}", of=found).answer[0].ttl == 5
    ports = ask(f"_http._tcp.reviews.default.{domain}", "SRV", of=found)
    assert set(texts(ports.answer)) == {"SRV 1 1 41 7f000001.addr.dc1.consul.", "SRV 1 1 42 7f000001.addr.dc1.consul."}
    assert texts(ports.additional) == ["A 127.0.0.1"]
    assert texts(ask(f"shop.default.{domain}", of=found).answer) == ["A 10.96.0.5"]
    assert texts(ask("shop.virtual.consul", of=found).answer) == ["A 10.96.0.5"]
    assert texts(ask(f"_dns._udp.shop.default.{domain}", "SRV", of=found).answer) == [f"SRV 1 1 53 shop.default.{domain}."]
    assert texts(ask(f"outside.default.{domain}", of=found).answer) == ["CNAME api.example.com."]
    assert texts(ask("bank.example.com", of=found).answer) == ["A 240.1.1.1"]
    assert texts(ask("any.of.wild.example.com", of=found).answer) == ["A 240.1.1.1"]
    assert code(ask("looked-up.example.com", of=found)) == "REFUSED"
    nodata = [f"gone.default.{domain}", f"default.{domain}", domain, "cluster.local", f"_http._tcp.reviews.default.{domain}"]
    assert [(code(a), a.answer, len(a.authority)) for name in nodata for a in [ask(name, of=found)]] == [("NOERROR", [], 1)] * len(nodata)
    missing = [
        f"reviews.shop.{domain}",
        f"_grpc._tcp.reviews.default.{domain}",
        f"_http._udp.reviews.default.{domain}",
        f"reviews.{domain}",
    ]
    assert [code(ask(name, "SRV", of=found)) for name in missing] == ["NXDOMAIN"] * len(missing)
    assert texts(ask("cluster.local", "SOA", of=found).answer)[0].startswith("SOA ns.cluster.local.")
