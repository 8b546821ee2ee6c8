"""The kind Guard: what is read, and what is said of mistakes."""

from __future__ import annotations

import pytest

from support.compiled import built, warnings
from support.reading import document, spec_of, wrong
from tulle.model.screen import PathLevel, Underscores

TULLE = "tulle.dev/v1"


def test_all_fields() -> None:
    spec = spec_of(
        "Guard",
        """
selector: {matchLabels: {app: a}}
methods: [GET, M-SEARCH]
paths: [/a, /b/*, "*.css", "/c/{**}"]
addresses: {allow: [10.0.0.0/8], deny: [10.1.2.3, "fd00::/8"]}
maxBodyBytes: 1000
headers: {maxCount: 50, maxKilobytes: 16, underscores: DROP}
pathNormalization: DECODE_AND_MERGE_SLASHES
""",
        api_version=TULLE,
    )
    assert (spec.methods, spec.max_body_bytes, spec.addresses.deny) == (("GET", "M-SEARCH"), 1000, ("10.1.2.3", "fd00::/8"))
    assert (spec.headers.underscores, spec.path_normalization) == (Underscores.DROP, PathLevel.DECODE_AND_MERGE_SLASHES)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("methods: [get]", "5: spec.methods[0]: must be a method such as GET, in capitals, not 'get'"),
        ("paths: [a]", "5: spec.paths[0]: must begin with / or *, not 'a': no path could ever fit"),
        ("paths: ['']", "5: spec.paths[0]: must not be empty"),
        ("maxBodyBytes: 0", "5: spec.maxBodyBytes: must be between 1 and 2147483647, not 0"),
        ("headers: {maxKilobytes: 9000}", "5: spec.headers.maxKilobytes: must be between 1 and 8192, not 9000"),
        ("headers: {underscores: KEEP}", "5: spec.headers.underscores: must be one of ALLOW, DROP, REJECT, not 'KEEP'"),
        ("addresses: {deny: [home]}", "5: spec.addresses.deny[0]: must be an IP address or a range such as 10.0.0.0/8, not 'home'"),
        ("maxBodyByte: 1", '5: spec.maxBodyByte: unknown field "maxBodyByte"; did you mean "maxBodyBytes"?'),
    ],
)
def test_mistakes(spec: str, said: str) -> None:
    assert said in wrong("Guard", spec, api_version=TULLE)


def test_one_that_says_nothing_is_a_mistake() -> None:
    assert len(wrong("Guard", "selector: {matchLabels: {app: a}}", api_version=TULLE)) == 1
    assert len(wrong("Guard", "headers: {}", api_version=TULLE)) == 1


def test_what_takes_no_calls_is_told() -> None:
    spec = "targetRefs: [{kind: HTTPRoute, group: gateway.networking.k8s.io, name: a}]\nmethods: [GET]"
    (found,) = warnings(built(document("Guard", spec, api_version=TULLE)), "Guard/a")
    assert "spec.targetRefs[0]: not in force: nothing of the kind HTTPRoute takes calls here" in found
