"""Properties of reading: what was read can be written and read again, and nothing that anyone writes makes it raise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tulle.resources.codec import dump, restore, to_document
from tulle.resources.kinds import KINDS, MESH_FILE
from tulle.resources.read import read
from tulle.resources.spec import Spec
from tulle.resources.yaml import load, write

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
hosts = st.one_of(names, names.map(lambda n: f"{n}.example.com"), names.map(lambda n: f"{n}.default.svc.cluster.local"))
ports = st.integers(1, 65535)
durations = st.one_of(
    st.integers(1, 10**6).map(lambda n: f"{n}ms"),
    st.tuples(st.integers(0, 5), st.integers(0, 59), st.floats(0.5, 59)).map(lambda t: f"{t[0]}h{t[1]}m{t[2]:.3f}s"),
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="%"), max_size=12)
labels = st.dictionaries(names, names, max_size=3)
percentages = st.one_of(st.floats(0, 100), st.integers(0, 100), st.builds(lambda v: {"value": v}, st.floats(0, 100)))


def some(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


strings = st.one_of(
    some({"exact": texts}),
    some({"prefix": texts.filter(bool)}),
    some({"regex": st.sampled_from([".*", "a|b", "[0-9]+", "^/x/(.*)$"])}),
)
presences = st.one_of(strings, st.just({}), st.just({"regex": "*"}))
headers = st.dictionaries(names, texts, max_size=2)
operations = some({}, set=headers, add=headers, remove=st.lists(names, max_size=2))
both = some({}, request=operations, response=operations)
destinations = some({"host": hosts}, subset=names, port=some({"number": ports}))
matches = some(
    {},
    uri=strings,
    method=strings,
    authority=strings,
    headers=st.dictionaries(names, presences, max_size=2),
    withoutHeaders=st.dictionaries(names, presences, max_size=2),
    query_params=st.dictionaries(texts, presences, max_size=2),
    ignoreUriCase=st.booleans(),
    port=ports,
    sourceLabels=labels,
    gateways=st.lists(names, max_size=2),
)
faults = st.one_of(
    some({"delay": some({"fixedDelay": durations}, percentage=percentages, percent=st.integers(0, 100))}),
    some({"abort": some({"http_status": st.integers(200, 599)}, percentage=percentages)}),
)
forwards = some(
    {"route": st.lists(some({"destination": destinations, "weight": st.integers(1, 100)}, headers=both), min_size=1, max_size=3)},
    name=texts,
    match=st.lists(matches, max_size=3),
    timeout=durations,
    fault=faults,
    headers=both,
    appendHeaders=headers,
    mirror=destinations,
    mirrorPercent=st.integers(0, 100),
    retries=some({"attempts": st.integers(1, 9)}, perTryTimeout=durations, retryOn=st.sampled_from(["5xx", "503,reset", "gateway-error"])),
)
redirects = some(
    {"redirect": some({"uri": texts}, redirectCode=st.sampled_from((301, 302, 303, 307, 308)))}, match=st.lists(matches, max_size=2)
)
virtual_services = some({"hosts": st.lists(hosts, min_size=1, max_size=3, unique=True),
                         "http": st.lists(forwards | redirects, min_size=1, max_size=3)})  # fmt: skip
balancers = st.one_of(
    some({"simple": st.sampled_from(["ROUND_ROBIN", "LEAST_CONN", "RANDOM", 4])}, warmupDurationSecs=durations),
    some({"consistentHash": some({"httpCookie": some({"name": names}, ttl=durations)}, minimumRingSize=st.integers(0, 4096))}),
)
pools = some(
    {"tcp": some({}, maxConnections=ports, connectTimeout=durations)}, http=some({}, http2MaxRequests=ports, idle_timeout=durations)
)
outliers = some({}, consecutiveErrors=ports, consecutive5xxErrors=ports, interval=durations, maxEjectionPercent=st.integers(0, 100))
policies = some({"loadBalancer": balancers}, connectionPool=pools, outlierDetection=outliers)
destination_rules = some(
    {"host": hosts},
    trafficPolicy=policies,
    subsets=st.lists(some({"name": names}, labels=labels, trafficPolicy=policies), max_size=3, unique_by=lambda subset: subset["name"]),
)


def written(kind: str, spec: dict[str, Any], name: str = "a", notes: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "annotations": notes or {}}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


documents = st.one_of(
    st.builds(written, st.just("VirtualService"), virtual_services, names, st.dictionaries(texts, texts, max_size=2)),
    st.builds(written, st.just("DestinationRule"), destination_rules, names),
)


@unhurried
@given(documents, st.booleans())
def test_what_was_read_can_be_written_and_read_again(document: dict[str, Any], as_json: bool) -> None:
    found = read(json.dumps(document) if as_json else write(document), "f.yaml")
    assert [str(v) for v in found.violations] == []
    (resource,) = found.resources
    assert to_document(resource)["spec"] == document["spec"]
    again = read(write(to_document(resource)), "f.yaml").resources[0]
    assert (again.key, again.spec, again.annotations, again.document) == (
        resource.key, resource.spec, resource.annotations, resource.document)  # fmt: skip
    assert hash(again.spec) == hash(resource.spec)
    assert restore(dump(resource), created=3, revision=4).spec == resource.spec
    assert restore(dump(resource), created=0, revision=0) == resource


@unhurried
@given(documents)
def test_the_place_of_every_field_is_known(document: dict[str, Any]) -> None:
    text = write(document)
    lines = text.split("\n")
    for path, line in read(text, "f.yaml").resources[0].lines.items():
        key = path.rpartition(".")[2]
        if path.startswith("spec.") and '"' not in path and "[" not in key:
            assert key in lines[line - 1]


@unhurried
@given(documents, st.data())
def test_a_wrong_field_is_told_where_it_stands(document: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is wrong elsewhere, an unknown field is told, at its line."""
    spots = list(_mappings(document["spec"], "spec"))
    path, mapping = data.draw(st.sampled_from(spots))
    assume("zzqq" not in mapping)
    mapping["zzqq"] = 1
    text = write(document)
    line = next(number for number, text_line in enumerate(text.split("\n"), start=1) if "zzqq" in text_line)
    assert (f"{path}.zzqq", line) in [(v.field, v.origin.line) for v in read(text, "f.yaml").violations]


FREE = ("labels", "sourceLabels", "withoutHeaders", "query_params", "set", "add", "appendHeaders")


def _is_free(path: str) -> bool:
    """Whether the keys of this mapping are the user's own."""
    last = path.rpartition(".")[2]
    return last in FREE or (last == "headers" and ".match[" in path)


def _mappings(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _mappings(inner, f"{path}[{index}]")
    elif isinstance(value, dict) and not _is_free(path):
        yield path, value
        for key, inner in list(value.items()):
            yield from _mappings(inner, f"{path}.{key}")


def _field_names(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[str]:
    if model in seen:
        return set()
    seen.add(model)
    found = {field.alias or name for name, field in model.model_fields.items()}
    for inner in Spec.__subclasses__():
        found |= _field_names(inner, seen)
    return found


FIELDS = sorted({*(name for kind in (*KINDS, MESH_FILE) for name in _field_names(kind.spec, set())), "apiVersion", "items", "<<", "mode"})
odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, durations, hosts,
    st.sampled_from(["*", "", "0", "x" * 300, "ROUND_ROBIN", "\u2013 a", "%", "a/b", "unix://", "1h", 10**400, -1, "(", "{port}"]),
)  # fmt: skip
odder = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | texts, inner, max_size=5), max_leaves=25
)


@unhurried
@given(st.sampled_from([*KINDS, MESH_FILE]), st.dictionaries(st.sampled_from(FIELDS), odder, max_size=6), odder)
def test_no_document_raises(kind: Any, spec: dict[str, Any], metadata: Any) -> None:
    text = write({"apiVersion": kind.api_versions[0], "kind": kind.name, "metadata": metadata, "spec": spec})
    found = read(text, "f.yaml")
    for violation in (*found.violations, *found.warnings):
        assert "\n" not in str(violation)
        assert 1 <= violation.origin.line <= text.count("\n") + 1
    for resource in found.resources:
        assert restore(dump(resource), created=0, revision=0) == resource


@unhurried
@given(documents, st.data())
def test_no_broken_document_raises(document: dict[str, Any], data: st.DataObject) -> None:
    """One place of a good document is replaced by something odd."""
    target = document["spec"]
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(target[key], dict | list) or not target[key] or data.draw(st.booleans()):
            break
        target = target[key]
    target[key] = data.draw(odder)
    found = read(write(document), "f.yaml")
    assert found.resources or found.violations


@unhurried
@given(st.binary())
def test_no_bytes_raise(data: bytes) -> None:
    read(data, "f.yaml")


@unhurried
@given(st.text())
def test_no_text_raises(text: str) -> None:
    read(text, "f.yaml")


@unhurried
@given(st.recursive(odd, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20))
def test_what_is_written_is_read_the_same(value: Any) -> None:
    assume("nan" not in repr(value) and "\\ud" not in ascii(value))
    found = [document.value for document in load(write(value))]
    assert repr(found) == repr([] if value is None else [value])
