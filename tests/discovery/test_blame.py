"""From Envoy's own words to the resource, and to the document."""

from __future__ import annotations

import pytest

from support.playbook import entry, snapshot
from tulle.discovery import CDS, RDS, Rejected
from tulle.discovery.blame import named, suspects
from tulle.model.resource import Key, Origin, Source

SUBSET = "outbound|9080|v1|reviews.default.svc.cluster.local"
WHOLE = "outbound|9080||reviews.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("message", "names", "guilty"),
    [
        (f"Error adding/updating cluster(s) {SUBSET}: no such filter", {SUBSET, WHOLE}, {SUBSET}),
        (f"Error adding/updating cluster(s) {SUBSET}: bad, {WHOLE}: bad too", {SUBSET, WHOLE, "other"}, {SUBSET, WHOLE}),
        ("Error adding/updating listener(s) 0.0.0.0_8080: '0.0.0.0_8080' has duplicate address\n", {"0.0.0.0_8080"}, {"0.0.0.0_8080"}),
        ("Error adding/updating listener(s) http.8080: bad\n", {"http.80", "http.8080"}, {"http.8080"}),
        ("Error adding/updating cluster(s) a: like b", {"a", "b"}, {"a"}),
        ("route 'x' in http.80, is wrong", {"http.80", "http.8"}, {"http.80"}),
        ("Proto constraint validation failed (ClusterValidationError.ConnectTimeout)", {"a", "b"}, set()),
        ("duplicate cluster reviews.", {"reviews", "reviews.default"}, {"reviews"}),
    ],
)
def test_the_guilty_resource_is_found_in_the_text(message: str, names: set[str], guilty: set[str]) -> None:
    assert named(message, names) == guilty


def source(name: str, line: int = 1) -> Source:
    return Source(key=Key(kind="VirtualService", namespace="default", name=name), origin=Origin(path="a.yaml", line=line))


def test_new_documents_are_suspected_first() -> None:
    before = entry(RDS, "http.80", "old", sources=(source("one"), source("two")))
    after = entry(RDS, "http.80", "new", sources=(source("one"), source("three"), source("two", line=9)))
    rejection = Rejected(type_url=RDS, entries=(after,), message="bad", snapshot=snapshot(after), replaced={"http.80": before})
    assert suspects(rejection) == (source("three"), source("two", line=9), source("one"))


def test_all_documents_of_a_resource_that_was_not_there_before() -> None:
    one, other = (entry(CDS, name, sources=(source(name), source("both"))) for name in ("x", "y"))
    rejection = Rejected(type_url=CDS, entries=(one, other), message="bad", snapshot=snapshot(one, other))
    assert suspects(rejection) == (source("x"), source("both"), source("y"))
