"""Strategies for Consul's entries: about services a, b and c, some of which lead in circles or nowhere."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

VERSION = "consul.hashicorp.com/v1alpha1"
services = st.sampled_from(["a", "b", "c", "nowhere"])
named = st.sampled_from(["v1", "v2"])


def fields(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


legs = fields(service=services, serviceSubset=named)
matches = fields(
    pathPrefix=st.sampled_from(["/", "/a"]),
    methods=st.just(["GET", "PUT"]),
    header=st.just([{"name": "x", "suffix": "y", "invert": True}]),
    queryParam=st.just([{"name": "q", "present": True}]),
)
details = fields(numRetries=st.integers(0, 2), requestTimeout=st.just("1s"), retryOnConnectFailure=st.booleans())
targets = st.builds(lambda leg, more: {**leg, **more}, legs, details)
routes = st.lists(st.builds(lambda m, d: {"match": {"http": m}, "destination": d}, matches, targets), max_size=3)
splits = st.one_of(
    st.builds(lambda one: [{"weight": 100, **one}], legs),
    st.builds(lambda one, other: [{"weight": 0.5, **one}, {"weight": 99.5, **other}], legs, legs),
)
filters = st.sampled_from(["Service.Meta.version == v1", '"x" in Service.Tags', "Service.Port != 1", ""])
subsets = st.fixed_dictionaries({"v1": st.builds(lambda f: {"filter": f}, filters), "v2": fields(onlyPassing=st.booleans())})
balancers = st.sampled_from(
    [{"policy": "random"}, {"policy": "maglev", "hashPolicies": [{"sourceIP": True}]}, {"policy": "ring_hash"}, {"policy": "least_request"}]
)
standing_in = st.dictionaries(st.sampled_from(["*", "v1"]), legs.filter(bool), max_size=2)
resolvers = st.one_of(
    st.builds(lambda leg: {"redirect": leg}, legs.filter(bool)),
    st.builds(lambda s, more: {"subsets": s, **more}, subsets, fields(defaultSubset=named, loadBalancer=balancers, failover=standing_in)),
)
actions = st.sampled_from(["allow", "deny"])
requests = st.sampled_from([{}, {"pathPrefix": "/a"}, {"pathExact": "/b", "methods": ["GET"]}, {"pathRegex": "/c.*"}])
permissions = st.lists(st.builds(lambda a, h: {"action": a, "http": h}, actions, requests), min_size=1, max_size=3)
sources = st.lists(
    st.one_of(
        st.builds(lambda n, a: {"name": n, "action": a}, st.sampled_from(["a", "b", "*"]), actions),
        st.builds(lambda n, p: {"name": n, "permissions": p}, st.sampled_from(["a", "*"]), permissions),
    ),
    max_size=3,
    unique_by=lambda s: s["name"],
)

SPECS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ServiceRouter": st.builds(lambda r: {"routes": r}, routes),
    "ServiceSplitter": st.builds(lambda s: {"splits": s}, splits),
    "ServiceResolver": resolvers,
    "ServiceDefaults": fields(protocol=st.sampled_from(["tcp", "http", "grpc"])),
    "ServiceIntentions": st.builds(lambda s: {"sources": s}, sources),
}


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Some entries, each of another kind or name."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(sorted(SPECS)), st.sampled_from(["a", "b", "c"])), max_size=6, unique=True))
    made = [{"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": draw(SPECS[kind])} for kind, name in pairs]
    return "---\n".join(json.dumps(document) + "\n" for document in made)
