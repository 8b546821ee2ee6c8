"""Configuration entries, intentions, certificates and chains over Consul's API."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509

from support.consul import Consul, running_consul
from tulle.ca.authority import Authority


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    folder = tmp_path_factory.mktemp("config")
    with running_consul(folder, authority=Authority(folder / "ca", "mesh.test")) as running:
        yield running


ROUTER = {
    "Kind": "service-router",
    "Name": "web",
    "Routes": [
        {
            "Match": {
                "HTTP": {"PathPrefix": "/admin", "Header": [{"Name": "x-a", "Exact": "b"}], "QueryParam": [{"Name": "q", "Present": True}]}
            },
            "Destination": {"Service": "admin", "RequestTimeout": 5_000_000_000, "NumRetries": 3, "RequestHeaders": {"Add": {"x-By": "r"}}},
        }
    ],
    "Meta": {"team": "a"},
}


def test_an_entry_is_put_read_listed_and_deleted(consul: Consul) -> None:
    assert consul.put("/v1/config", ROUTER).json is True
    assert consul.put("/v1/config", ROUTER).json is True
    read = consul.get("/v1/config/service-router/web")
    destination = {"Service": "admin", "RequestTimeout": "5s", "NumRetries": 3, "RequestHeaders": {"Add": {"x-By": "r"}}}
    expected = {**ROUTER, "Routes": [{"Match": ROUTER["Routes"][0]["Match"], "Destination": destination}]}  # type: ignore[index]
    assert {k: v for k, v in read.json.items() if k not in ("CreateIndex", "ModifyIndex")} == expected
    assert read.json["ModifyIndex"] == read.index > 0
    assert [e["Name"] for e in consul.get("/v1/config/service-router").json] == ["web"]
    assert consul.ask("DELETE", "/v1/config/service-router/web").json == {}
    assert consul.ask("DELETE", "/v1/config/service-router/web").json == {}
    gone = consul.get("/v1/config/service-router/web")
    assert (gone.status, gone.text) == (404, 'Config entry not found for "service-router" / "web"')
    assert consul.get("/v1/config/service-router").json == []


def test_check_and_set(consul: Consul) -> None:
    entry = {"Kind": "service-defaults", "Name": "cas", "Protocol": "http"}
    assert consul.put("/v1/config?cas=0", entry).json is True
    assert consul.put("/v1/config?cas=0", entry).json is False
    index = consul.get("/v1/config/service-defaults/cas").json["ModifyIndex"]
    assert consul.put(f"/v1/config?cas={index + 99}", {**entry, "Protocol": "grpc"}).json is False
    assert consul.put(f"/v1/config?cas={index}", {**entry, "Protocol": "grpc"}).json is True
    read = consul.get("/v1/config/service-defaults/cas").json
    assert {k: read[k] for k in ("Kind", "Name", "Protocol", "TransparentProxy", "MeshGateway", "Expose")} == {
        **entry, "Protocol": "grpc", "TransparentProxy": {}, "MeshGateway": {}, "Expose": {},
    }  # fmt: skip
    assert consul.put("/v1/config", read).json is True
    assert consul.ask("DELETE", f"/v1/config/service-defaults/cas?cas={index}").json is False
    index = consul.get("/v1/config/service-defaults/cas").json["ModifyIndex"]
    assert consul.ask("DELETE", f"/v1/config/service-defaults/cas?cas={index}").json is True


def test_readers_wait_for_the_next_change(consul: Consul) -> None:
    index = consul.get("/v1/config/service-splitter").index
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(consul.get, f"/v1/config/service-splitter?index={index}&wait=20s")
        consul.put("/v1/config", {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]})
        answer = waiting.result(60)
    assert [e["Name"] for e in answer.json] == ["web"]
    assert answer.index > index
    consul.ask("DELETE", "/v1/config/service-splitter/web")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"Kind": "moon", "Name": "x"}, "Request decode failed: invalid config entry kind: moon"),
        ({"Name": "x"}, "Request decode failed: Payload does not contain a Kind key at the top level"),
        ({"Kind": "service-router"}, "Bad Request: Name is required"),
        ({"Kind": "proxy-defaults", "Name": "other"}, "Bad Request: invalid name ('other'), only \"global\" is supported"),
        ({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 90}]}, "splits: the weights must add up to 100, not 90"),
        ({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v9"}, "defaultSubset: subset 'v9' is not among the subsets"),
        ({"Kind": "service-resolver", "Name": "web", "Subsets": {"a": {"Filter": "Moon == 1"}}}, "subsets.a.filter: "),
        (
            {"Kind": "service-router", "Name": "web", "Routes": [{"Match": {"HTTP": {"PathExact": "x"}}}]},
            "routes[0].match.http.pathExact: ",
        ),
        ({"Kind": "service-router", "Name": "web", "Rotues": []}, 'unknown field "Rotues"'),
        ({"Kind": "service-defaults", "Name": "web", "Protocol": "smtp"}, "protocol: must be one of tcp, http, http2, grpc"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(consul: Consul, entry: object, text: str) -> None:
    answer = consul.put("/v1/config", entry)
    assert (answer.status, text in answer.text) == (400, True), answer.text


def test_intentions_one_by_one(consul: Consul) -> None:
    exact = "/v1/connect/intentions/exact?source=web&destination=db"
    assert consul.get(exact).status == 404
    assert consul.put(exact, {"SourceType": "consul", "Action": "allow", "Description": "d"}).json is True
    shown = consul.get(exact).json
    known = ("SourceName", "DestinationName", "SourceType", "Action", "Precedence", "Description")
    assert {k: shown[k] for k in known} == {
        "SourceName": "web", "DestinationName": "db", "SourceType": "consul", "Action": "allow", "Precedence": 9, "Description": "d",
    }  # fmt: skip
    assert consul.put("/v1/connect/intentions/exact?source=*&destination=*", {"Action": "deny"}).json is True
    assert [i["Precedence"] for i in consul.get("/v1/connect/intentions").json] == [9, 5]
    assert [i["Action"] for i in consul.get('/v1/connect/intentions?filter=SourceName=="web"').json] == ["allow"]
    matched = consul.get("/v1/connect/intentions/match?by=destination&name=db&name=x").json
    assert {name: len(found) for name, found in matched.items()} == {"db": 2, "x": 1}
    assert consul.get("/v1/connect/intentions/check?source=web&destination=db").json == {"Allowed": True}
    assert consul.get("/v1/connect/intentions/check?source=api&destination=db").json == {"Allowed": False}
    entry = consul.get("/v1/config/service-intentions/db").json
    assert entry["Sources"] == [{"Name": "web", "Action": "allow", "Description": "d", "Type": "consul", "Precedence": 9}]
    assert consul.put("/v1/config", entry).json is True
    assert consul.get("/v1/config/service-intentions/*").json["Name"] == "*"
    permissions = [{"Action": "allow", "HTTP": {"PathPrefix": "/a", "Methods": ["GET"]}}]
    assert consul.put(exact, {"Permissions": permissions}).json is True
    assert (consul.get(exact).json["Permissions"], consul.get(exact).json["Action"]) == (permissions, "")
    assert consul.get("/v1/connect/intentions/check?source=web&destination=db").json == {"Allowed": False}
    for path in (exact, "/v1/connect/intentions/exact?source=*&destination=*"):
        assert consul.ask("DELETE", path).json is True
    assert consul.get("/v1/connect/intentions").json == []
    assert consul.get("/v1/config/service-intentions").json == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"SourceNS": "other"}, 'SourceNS can only be "default" here'),
        ({"DestinationPartition": "other"}, 'DestinationPartition can only be "default" here'),
        ({"SourcePeer": "east"}, 'SourcePeer can only be "" here'),
        ({"SourceType": "external"}, 'SourceType can only be "consul" here'),
        ({"Acton": "deny"}, "Acton is no field of an intention"),
    ],
)
def test_callers_elsewhere_are_not_taken_for_those_here(consul: Consul, said: dict[str, str], why: str) -> None:
    exact = "/v1/connect/intentions/exact?source=far&destination=near"
    answer = consul.put(exact, {"Action": "allow", **said})
    assert (answer.status, answer.text) == (400, f"Bad Request: {why}")
    assert consul.get("/v1/config/service-intentions/near").status == 404


@pytest.mark.parametrize("said", [{"Namespace": "other"}, {"Partition": "other"}])
def test_nor_are_those_of_an_entry(consul: Consul, said: dict[str, str]) -> None:
    entry = {"Kind": "service-intentions", "Name": "near", "Sources": [{"Name": "far", "Action": "allow", **said}]}
    answer = consul.put("/v1/config", entry)
    assert (answer.status, next(iter(said)).lower() in answer.text.lower()) == (400, True)
    assert consul.get("/v1/config/service-intentions/near").status == 404


@pytest.mark.parametrize("said", [{"Peer": "east"}, {"SamenessGroup": "all"}])
def test_peers_are_nobody_here(consul: Consul, said: dict[str, str]) -> None:
    entry = {"Kind": "service-intentions", "Name": "close", "Sources": [{"Name": "far", "Action": "deny", **said}]}
    assert consul.put("/v1/config", entry).json is True
    told = consul.get("/v1/connect/intentions/exact?source=far&destination=close").json
    assert {f"Source{field}": value for field, value in said.items()}.items() <= told.items()
    assert consul.get("/v1/connect/intentions/check?source=far&destination=close").json == {"Allowed": True}
    assert consul.get("/v1/config/service-intentions/close").json["Sources"][0].items() >= said.items()
    assert consul.ask("DELETE", "/v1/config/service-intentions/close").status == 200


def test_what_was_told_of_an_intention_may_be_sent_back(consul: Consul) -> None:
    exact = "/v1/connect/intentions/exact?source=back&destination=forth"
    assert consul.put(exact, {"Action": "allow", "SourceNS": "default", "SourceType": "consul"}).json is True
    assert consul.put(exact, {**consul.get(exact).json, "Description": "again"}).json is True
    assert consul.get(exact).json["Description"] == "again"
    entry = consul.get("/v1/config/service-intentions/forth").json
    assert consul.put("/v1/config", entry).json is True
    assert consul.ask("DELETE", exact).json is True


def test_intentions_by_id(consul: Consul) -> None:
    made = consul.ask("POST", "/v1/connect/intentions", {"SourceName": "a", "DestinationName": "b", "Action": "deny"}).json["ID"]
    path = f"/v1/connect/intentions/{made}"
    assert consul.get(path).json["Action"] == "deny"
    assert consul.put(path, {"SourceName": "a", "DestinationName": "b", "Action": "allow"}).json == {"ID": made}
    assert (consul.get(path).json["Action"], consul.get(path).json["ID"]) == ("allow", made)
    twice = consul.ask("POST", "/v1/connect/intentions", {"SourceName": "a", "DestinationName": "b", "Action": "deny"})
    assert (twice.status, twice.text.startswith("duplicate intention found")) == (400, True)
    assert consul.ask("DELETE", path).json is True
    assert consul.get(path).status == 404
    assert consul.get("/v1/connect/intentions/none").text == "Bad request: intention id is not a UUID"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("exact?source=a", "required query parameter 'destination' not set"),
        ("check?destination=a", "required query parameter 'source' not set"),
        ("match?name=a", "required query parameter 'by' not set"),
        ("match?by=moon&name=a", "'by' parameter must be one of 'source' or 'destination'"),
        ("match?by=source", "required query parameter 'name' not set"),
    ],
)
def test_questions_on_intentions_that_lack_something(consul: Consul, path: str, text: str) -> None:
    answer = consul.get(f"/v1/connect/intentions/{path}")
    assert (answer.status, answer.text) == (400, text)


def test_roots_and_leaves(consul: Consul) -> None:
    roots = consul.get("/v1/connect/ca/roots")
    assert set(roots.json) == {"ActiveRootID", "TrustDomain", "Roots"}
    (root,) = roots.json["Roots"]
    assert (roots.json["TrustDomain"], root["ID"], root["Active"]) == ("mesh.test", roots.json["ActiveRootID"], True)
    assert consul.get("/v1/agent/connect/ca/roots").json == roots.json
    pem = consul.get("/v1/connect/ca/roots?pem=true")
    assert (pem.headers["content-type"], pem.text) == ("application/pem-certificate-chain", root["RootCert"])
    answer = consul.get("/v1/agent/connect/ca/leaf/web")
    leaf = answer.json
    certificate = x509.load_pem_x509_certificate(leaf["CertPEM"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [leaf["ServiceURI"]] == ["spiffe://mesh.test/ns/default/sa/web"]
    assert leaf["PrivateKeyPEM"].startswith("-----BEGIN ")
    assert (leaf["Service"], answer.index) == ("web", leaf["ModifyIndex"])
    assert consul.get("/v1/agent/connect/ca/leaf/web").json == leaf
    assert consul.get("/v1/agent/connect/ca/leaf/No%2FName").status == 400


def test_configuration_of_the_authority(consul: Consul) -> None:
    said = consul.get("/v1/connect/ca/configuration").json
    assert (said["Provider"], said["Config"]) == ("consul", {"LeafCertTTL": "24h0m0s"})
    assert consul.put("/v1/connect/ca/configuration", said).json is True
    assert consul.put("/v1/connect/ca/configuration", {"Provider": "vault", "Config": {}}).status == 400


def test_authorize_asks_the_intentions(consul: Consul) -> None:
    exact = "/v1/connect/intentions/exact?source=web&destination=db"
    consul.put(exact, {"Action": "deny"})

    def verdict(uri: str) -> object:
        return consul.ask("POST", "/v1/agent/connect/authorize", {"Target": "db", "ClientCertURI": uri}).json

    told = {"Authorized": False, "Reason": "Matched L4 intention: default/web => default/db (Precedence: 9, Action: DENY)"}
    assert verdict("spiffe://mesh.test/ns/default/sa/web") == verdict("spiffe://mesh.test/ns/default/dc/dc1/svc/web") == told
    assert verdict("spiffe://mesh.test/ns/default/sa/api") == {"Authorized": True, "Reason": "Default behavior configured by ACLs"}
    assert verdict("spiffe://other/ns/default/sa/web") == {"Authorized": False, "Reason": "Identity from an external trust domain: other"}
    consul.ask("DELETE", exact)


def test_the_chain_of_a_service(consul: Consul) -> None:
    entries = (
        {"Kind": "service-resolver", "Name": "shop", "DefaultSubset": "v1", "Subsets": {"v1": {"Filter": "Service.Meta.v == 1"}, "v2": {}}},
        {
            "Kind": "service-splitter",
            "Name": "shop",
            "Splits": [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "ServiceSubset": "v2"}],
        },
        {"Kind": "service-router", "Name": "shop", "Routes": [{"Destination": {"Service": "other"}}]},
    )
    for entry in entries:
        assert consul.put("/v1/config", entry).json is True
    chain = consul.get("/v1/discovery-chain/shop").json["Chain"]
    assert (chain["ServiceName"], chain["Protocol"], chain["StartNode"]) == ("shop", "http", "router:shop.default.default")
    assert [r["NextNode"] for r in chain["Nodes"]["router:shop.default.default"]["Routes"]] == [
        "resolver:other.default.default.dc1", "splitter:shop.default.default",
    ]  # fmt: skip
    splits = chain["Nodes"]["splitter:shop.default.default"]["Splits"]
    assert [(s["Weight"], s["NextNode"]) for s in splits] == [
        (90, "resolver:v1.shop.default.default.dc1"), (10, "resolver:v2.shop.default.default.dc1"),
    ]  # fmt: skip
    assert chain["Targets"]["v1.shop.default.default.dc1"]["Subset"] == {"Filter": "Service.Meta.v == 1", "OnlyPassing": False}
    late = consul.ask("POST", "/v1/discovery-chain/plain", {"OverrideConnectTimeout": "7s"}).json["Chain"]
    assert late["Nodes"]["resolver:plain.default.default.dc1"]["Resolver"]["ConnectTimeout"] == "7s"
    assert late["Targets"]["plain.default.default.dc1"]["ConnectTimeout"] == "7s"
    assert consul.ask("POST", "/v1/discovery-chain/plain", {"OverrideMeshGateway": {"Mode": "local"}}).status == 400
    plain = consul.ask("POST", "/v1/discovery-chain/plain", {"OverrideProtocol": "grpc"}).json["Chain"]
    assert (plain["Protocol"], plain["Default"]) == ("grpc", True)
