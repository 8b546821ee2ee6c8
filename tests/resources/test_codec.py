"""Resources to bytes and back."""

from __future__ import annotations

import json

import pytest
import yaml

from support.reading import document, good
from tulle.resources.codec import dump, restore, to_document
from tulle.resources.kinds import KINDS, find_kind, kind_of
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
    names = [name for kind in KINDS for name in kind.names()]
    assert len(names) == len({*names})
    assert find_kind("zebras") is None
    assert find_kind("gateways.gateway.networking.k8s.io") is None
    assert kind_of("vs") is None
    service = kind_of("Service")
    assert service is not None and service.api_versions == ("v1",)
