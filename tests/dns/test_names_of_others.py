"""Names that others have to be asked about: prepared queries, and other datacenters."""

from __future__ import annotations

import pytest

from support.zones import ALPHA, BETA, INSTANCES, ask, code, texts
from tulle.dns.question import AskNode, AskQuery, AskService, Unknown, parse
from tulle.dns.rules import Rules
from tulle.dns.zone import Gathered, Instance

RULES = Rules(datacenters=("dc2",), service_ttl={"web": 9}, node_ttl=4)
WEB = tuple(i for i in INSTANCES if i.id in ("web-1", "web-2", "web-3"))
THERE = Gathered(asked=None, datacenter="dc2", instances=WEB, machine=ALPHA)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("web.service.dc2", AskService(name="web", datacenter="dc2")),
        ("web.service.dc2.dc", AskService(name="web", datacenter="dc2")),
        ("v1.web.service.dc2", AskService(name="web", tag="v1", datacenter="dc2")),
        ("_web._v1.service.dc2", AskService(name="web", tag="v1", datacenter="dc2")),
        ("_web._tcp.dc2", AskService(name="web", datacenter="dc2")),
        ("web.connect.dc2", AskService(name="web", connect=True, datacenter="dc2")),
        ("web.ingress", AskService(name="web", ingress=True)),
        ("a.b.node.dc2", AskNode(name="a.b", datacenter="dc2")),
        ("a.node.dc1", AskNode(name="a")),
        ("a.b.query", AskQuery(name="a.b")),
        ("_q._tcp.query", AskQuery(name="q")),
        ("q.query.dc2", AskQuery(name="q", datacenter="dc2")),
        ("web.service.mars", Unknown()),
        ("web.service.dc2.odd", Unknown()),
        ("web.virtual.dc2", Unknown()),
    ],
)
def test_forms(name: str, asked: object) -> None:
    assert parse((*name.split("."), "consul"), RULES) == asked


def test_services_of_another_datacenter() -> None:
    found = ask("web.service.dc2.consul", rules=RULES, gathered=THERE)
    assert set(texts(found.answer)) == {"A 10.0.0.1", "A 10.9.9.9"}
    assert found.answer[0].ttl == 9
    assert texts(ask("v1.web.service.dc2.consul", rules=RULES, gathered=THERE).answer) == ["A 10.0.0.1"]
    srv = ask("_web._v1.service.dc2.consul", "SRV", rules=RULES, gathered=THERE)
    assert texts(srv.answer) == ["SRV 1 5 8080 Alpha.node.dc2.consul."]
    assert [str(rrset.name) for rrset in srv.additional][:1] == ["Alpha.node.dc2.consul."]
    other = ask("_web._v2.service.dc2.consul", "SRV", rules=RULES, gathered=THERE)
    assert texts(other.answer) == ["SRV 1 3 8081 0a090909.addr.dc2.consul."]


def test_machines_of_another_datacenter() -> None:
    found = ask("alpha.node.dc2.consul", rules=RULES, gathered=THERE)
    assert (texts(found.answer), found.answer[0].ttl) == (["A 10.0.0.1"], 4)
    nobody = Gathered(asked=None, datacenter="dc2")
    assert code(ask("alpha.node.dc2.consul", rules=RULES, gathered=nobody)) == "NXDOMAIN"
    assert code(ask("alpha.node.dc2.consul", "AAAA", rules=RULES, gathered=THERE)) == "NOERROR"


def test_addresses_are_the_same_in_every_datacenter() -> None:
    assert texts(ask("0a000001.addr.dc2.consul", rules=RULES).answer) == ["A 10.0.0.1"]


def test_a_query_says_itself_who_is_healthy_and_for_how_long() -> None:
    critical = next(i for i in WEB if i.id == "web-3")
    told = Gathered(asked=None, datacenter="dc1", instances=(critical,), ttl=33)
    found = ask("anything.query.consul", rules=RULES, gathered=told)
    assert (texts(found.answer), found.answer[0].ttl) == (["A 10.9.9.10"], 33)
    silent = Gathered(asked=None, datacenter="dc1", instances=WEB)
    assert ask("anything.query.consul", rules=RULES, gathered=silent).answer[0].ttl == 9, "that of the service"
    assert code(ask("anything.query.consul", rules=RULES)) == "NXDOMAIN"


def test_a_query_that_failed_over_names_where_it_went() -> None:
    one = Instance(id="x", service="web", machine=BETA, port=7)
    told = Gathered(asked=None, datacenter="dc2", instances=(one,))
    srv = ask("q.query.consul", "SRV", rules=RULES, gathered=told)
    assert texts(srv.answer) == ["SRV 1 1 7 beta.node.dc2.consul."]
    assert texts(srv.additional) == ["A 10.0.0.2"]
