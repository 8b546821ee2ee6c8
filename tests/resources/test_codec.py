"""Resources to bytes and back."""

from __future__ import annotations

import json

import pytest
import yaml

from support.reading import document, good
from tulle.resources.codec import dump, restore, to_document
from tulle.resources.kinds import KINDS, find_kind, find_kinds, kind_of
from tulle.resources.read import read

TEXT = """\
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: a, labels: {x: "y"}, annotations: {note: "ü"}, uid: dropped}
spec:
  hosts: [a]
  http:
  - route: [{destination: {host: a}}]
    fault: {delay: {fixed_delay: 5s, percent: 100}}
status: {dropped: true}
"""


def test_a_document_is_kept_as_it_was_written() -> None:
    assert to_document(good(TEXT)) == {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "default", "labels": {"x": "y"}, "annotations": {"note": "ü"}},
        "spec": {
            "hosts": ["a"],
            "http": [{"route": [{"destination": {"host": "a"}}], "fault": {"delay": {"fixed_delay": "5s", "percent": 100}}}],
        },
    }


def test_restored_is_equal() -> None:
    resource = good(TEXT)
    again = restore(dump(resource), created=0, revision=0)
    assert again == resource
    assert again.at("spec.http[0].fault").origin.line == 8
    assert dump(again) == dump(resource)


def test_what_the_store_says_is_set() -> None:
    again = restore(dump(good(TEXT)), created=7, revision=9)
    assert (again.created, again.revision) == (7, 9)


def test_the_document_can_be_written_and_read_again() -> None:
    resource = good(TEXT)
    text = yaml.safe_dump(to_document(resource), allow_unicode=True, sort_keys=False)
    again = read(text, "g.yaml").resources[0]
    assert (again.key, again.spec, again.labels, again.document) == (resource.key, resource.spec, resource.labels, resource.document)


def test_a_document_can_be_changed_without_harm() -> None:
    resource = good(TEXT)
    to_document(resource)["spec"].clear()
    assert to_document(resource)["spec"]


@pytest.mark.parametrize("change", [{"kind": "Zebra"}, {"spec": {}}, {"metadata": {}}])
def test_what_is_not_valid_any_more_is_a_value_error(change: dict[str, object]) -> None:
    data = json.loads(dump(good(document("DestinationRule", "host: a")))) | change
    with pytest.raises(ValueError, match=r"."):
        restore(json.dumps(data).encode(), created=0, revision=0)


@pytest.mark.parametrize("word", ["vs", "VirtualService", "virtualservice", "virtualservices", "virtualservices.networking.istio.io"])
def test_kinds_by_the_words_of_users(word: str) -> None:
    assert find_kind(word) is kind_of("VirtualService")


def test_kinds_are_distinct() -> None:
    names = [(name, kind.group) for kind in KINDS for name in kind.names()]
    assert len(names) == len({*names})
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert find_kind("zebras") is None
    assert find_kind("gateways.gateway.networking.example") is None
    assert kind_of("vs") is None
    service = kind_of("Service")
    assert service is not None and service.api_versions == ("v1",)


@pytest.mark.parametrize(
    ("word", "kinds"),
    [
        ("gw", ["Gateway", "Gateway.gateway.networking.k8s.io"]),
        ("gateways", ["Gateway", "Gateway.gateway.networking.k8s.io"]),
        ("gtw", ["Gateway.gateway.networking.k8s.io"]),
        ("gateways.networking.istio.io", ["Gateway"]),
        ("Gateway.gateway.networking.k8s.io", ["Gateway.gateway.networking.k8s.io"]),
        ("httproute", ["HTTPRoute"]),
    ],
)
def test_a_plain_name_may_mean_kinds_of_several_groups(word: str, kinds: list[str]) -> None:
    assert [kind.name for kind in find_kinds(word)] == kinds
    assert find_kind(word) is kind_of(kinds[0])


def test_both_gateways_have_keys_of_their_own() -> None:
    old = good(document("Gateway", "servers: [{port: {number: 80, protocol: HTTP, name: h}, hosts: ['*']}]"))
    new = good(
        document(
            "Gateway",
            "gatewayClassName: tulle\nlisteners: [{name: a, port: 80, protocol: HTTP}]",
            api_version="gateway.networking.k8s.io/v1",
        )
    )
    assert str(old.key) == "Gateway/default/a"
    assert str(new.key) == "Gateway.gateway.networking.k8s.io/default/a"
    assert to_document(new)["kind"] == "Gateway"
    assert restore(dump(new), created=0, revision=0) == new


def test_some_documents_belong_to_no_namespace_and_need_no_spec() -> None:
    found = read("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, namespace: x, labels: {team: a}}\n", "f.yaml")
    assert [str(w) for w in found.warnings] == [
        "f.yaml:3: Namespace/shop: metadata.namespace: has no effect: a Namespace belongs to no namespace"
    ]
    (namespace,) = found.resources
    assert (namespace.key.namespace, namespace.key.name) == ("", "shop")
    assert restore(dump(namespace), created=0, revision=0) == namespace
