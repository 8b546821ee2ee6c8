"""Whatever the view: what is serialised can be read, names what its entry says that it names, and is the same however it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.generated_routes import CLUSTERS, EMPTY, Chance
from support.views import cluster, endpoints, http_listener, tcp_listener, view
from tulle.model.proxy import ProxyView
from tulle.model.routing import RouteTable
from tulle.protos import library
from tulle.translate import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Translator
from tulle.translate.snapshot import Reference
from tulle.translate.static import decode

NAMING_FIELDS = {
    ("RouteAction", "cluster"): CLUSTER,
    ("RequestMirrorPolicy", "cluster"): CLUSTER,
    ("ClusterWeight", "name"): CLUSTER,
    ("TcpProxy", "cluster"): CLUSTER,
    ("Rds", "route_config_name"): ROUTES,
    ("EnvoyInternalAddress", "server_listener_name"): LISTENER,
}


def tables() -> st.SearchStrategy[list[RouteTable]]:
    seeds = st.lists(st.integers(0, 2**32), min_size=1, max_size=3, unique=True)
    return seeds.map(lambda all_of_them: [Chance(seed).table(f"table-{seed}") for seed in all_of_them])


def view_of(some: list[RouteTable]) -> ProxyView:
    names = (*CLUSTERS, EMPTY)
    return view(
        *(http_listener(f"apart-{one.name}", one.name) for one in some),
        *(http_listener(f"owner-of-{one.name}", replace(one, name=f"own-{one.name}")) for one in some),
        tcp_listener("tcp", CLUSTERS[0]),
        *some,
        *map(cluster, names),
        *map(endpoints, names),
        cluster("inner", internal_listener="tcp"),
    )


def named_in(message: Any) -> Iterator[Reference]:
    """Walks the message itself, whatever is packed in it included."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        yield from named_in(library().unpack(message))
        return
    for field, value in message.ListFields():
        if type_url := NAMING_FIELDS.get((message.DESCRIPTOR.name, field.name)):
            yield type_url, value
        for item in items(field, value):
            yield from named_in(item)


def items(field: Any, value: Any) -> list[Any]:
    if field.type != field.TYPE_MESSAGE:
        return []
    if field.message_type.GetOptions().map_entry:
        return [item for item in value.values() if hasattr(item, "DESCRIPTOR")]
    return list(value) if field.is_repeated else [value]


@given(tables())
def test_references_are_what_the_messages_name(some: list[RouteTable]) -> None:
    for entry in Translator().snapshot(view_of(some)):
        named = set(named_in(decode(entry)))
        assert {ref for ref in entry.references if ref[0] != ENDPOINTS} == named


@given(tables())
def test_what_is_remembered_changes_nothing(some: list[RouteTable]) -> None:
    translator = Translator()
    translator.snapshot(view_of(some[:1]))
    translator.snapshot(view_of(list(reversed(some))))
    assert translator.snapshot(view_of(some)).versions() == Translator().snapshot(view_of(some)).versions()


@given(tables())
def test_only_what_is_missing_is_a_problem(some: list[RouteTable]) -> None:
    problems = Translator().snapshot(view_of(some)).problems()
    assert {problem.rpartition(" names ")[2] for problem in problems} <= {"cluster 'missing', which is not there"}
