"""Responses written by hand are what protobuf reads; requests are read as they were meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.playbook import entry
from tulle.discovery import CDS, Mode, Request
from tulle.discovery.wire import encode, encode_nonce, parse
from tulle.protos import pb

entries = st.lists(
    st.builds(lambda name, size: entry(CDS, name, name * size), st.text(min_size=1, max_size=40), st.integers(0, 3000)), max_size=4
)


@given(entries, st.lists(st.text(max_size=200), max_size=3), st.integers(0, 10**12))
def test_delta_responses(sent: list, removed: list[str], nonce: int) -> None:
    response = pb.DeltaDiscoveryResponse.FromString(encode(Mode.DELTA, CDS, sent, removed) + encode_nonce(str(nonce)))
    assert [(r.name, r.version, r.resource.type_url, r.resource.value) for r in response.resources] == [
        (e.name, e.version, CDS, e.body) for e in sent
    ]
    assert list(response.removed_resources) == removed
    assert (response.type_url, response.nonce) == (CDS, str(nonce))


@given(entries, st.integers(0, 10**12))
def test_state_of_the_world_responses(sent: list, nonce: int) -> None:
    response = pb.DiscoveryResponse.FromString(encode(Mode.SOTW, CDS, sent, ["unsayable"]) + encode_nonce(str(nonce)))
    assert [(r.type_url, r.value) for r in response.resources] == [(CDS, e.body) for e in sent]
    assert (response.type_url, response.nonce) == (CDS, str(nonce))


def test_the_version_of_a_response_is_its_content() -> None:
    one, other = (encode(Mode.SOTW, CDS, [entry(CDS, "a", body)]) for body in ("x", "y"))
    versions = [pb.DiscoveryResponse.FromString(raw).version_info for raw in (one, other, encode(Mode.SOTW, CDS, [entry(CDS, "a", "x")]))]
    assert versions[0] == versions[2] != versions[1]


def test_delta_requests() -> None:
    message = pb.DeltaDiscoveryRequest(
        type_url=CDS,
        response_nonce="7",
        resource_names_subscribe=["a", "b"],
        resource_names_unsubscribe=["c"],
        initial_resource_versions={"d": "1"},
    )
    request, node = parse(message.SerializeToString(), Mode.DELTA)
    assert request == Request(type_url=CDS, nonce="7", subscribe=("a", "b"), unsubscribe=("c",), held={"d": "1"})
    assert node is None


def test_state_of_the_world_requests_with_a_node_and_an_error() -> None:
    message = pb.DiscoveryRequest(type_url=CDS, response_nonce="7", resource_names=["a"], node={"id": "me"}, error_detail={"message": "no"})
    request, node = parse(message.SerializeToString(), Mode.SOTW)
    assert request == Request(type_url=CDS, nonce="7", subscribe=("a",), error="no")
    assert node.id == "me"


def test_rubbish_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="not a discovery request"):
        parse(b"\xff\xff\xff", Mode.DELTA)
