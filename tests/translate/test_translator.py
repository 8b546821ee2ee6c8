from __future__ import annotations

import gc
import weakref
from dataclasses import replace

from support.views import cluster, endpoints, host, http_listener, layer, route, route_configuration, source, table, to, view
from tulle.model.proxy import Layer, ProxyView
from tulle.model.routing import VirtualHost
from tulle.protos import pb
from tulle.translate import CLUSTER, ROUTES, Translator
from tulle.translate.routes import virtual_host
from tulle.translate.static import decode


def hosts(count: int) -> list[VirtualHost]:
    return [host(f"host-{n}", route(None, to(f"c{n}"), source=source(f"rule-{n}", line=n + 1))) for n in range(count)]


def test_a_layer_that_was_seen_gives_the_same_bundle() -> None:
    translator, shared = Translator(), layer(cluster("a"))
    first = translator.snapshot(ProxyView(layers=(shared, layer(cluster("b")))))
    second = translator.snapshot(ProxyView(layers=(layer(cluster("c")), shared)))
    assert first.bundles[0] is second.bundles[1]


def test_what_did_not_change_is_the_same_entry() -> None:
    translator, keep = Translator(), cluster("keep")
    first = translator.snapshot(view(keep, cluster("change")))
    second = translator.snapshot(view(keep, cluster("change", http2=True)))
    assert first.get(CLUSTER, "keep") is second.get(CLUSTER, "keep")
    before, after = first.get(CLUSTER, "change"), second.get(CLUSTER, "change")
    assert before is not None
    assert after is not None
    assert before.version != after.version


def test_one_changed_host_leaves_the_others_serialised() -> None:
    translator, some = Translator(), hosts(20)
    translator.snapshot(view(table("t", *some)))
    changed = [*some[:7], replace(some[7], require_tls=True), *some[8:]]
    found = translator.snapshot(view(table("t", *changed))).get(ROUTES, "t")
    assert found is not None
    assert decode(found) == pb.RouteConfiguration(
        name="t", validate_clusters={"value": False}, virtual_hosts=[virtual_host(one) for one in changed]
    )
    assert len(translator._hosts) == 21


def test_a_table_put_together_is_the_table_in_one_piece() -> None:
    whole = route_configuration(table("t", *hosts(300), ignore_port_in_host=True))
    assert pb.RouteConfiguration.FromString(whole.SerializeToString(deterministic=True)) == whole
    assert len(whole.virtual_hosts) == 300
    assert whole.ignore_port_in_host_matching


def test_versions_are_hashes_of_the_content() -> None:
    one, again = (Translator().snapshot(view(cluster("a"), endpoints("a", 1, 2))) for _ in range(2))
    assert one.versions() == again.versions()
    assert {len(version) for version in one.versions().values()} == {16}


def test_a_rule_that_only_moved_in_its_file_has_the_same_version() -> None:
    here, there = (view(table("t", host("h", route(None, to("a"), source=source(line=line))))) for line in (3, 40))
    one, other = Translator().snapshot(here), Translator().snapshot(there)
    assert one.versions() == other.versions()
    assert [entry.sources[0].origin.line for snapshot in (one, other) for entry in snapshot] == [3, 40]


def test_sources_are_told_once_each() -> None:
    rule, own = source("shared"), source("own")
    shared = [host(f"h{n}", route("/a", to("a"), source=rule), route(None, to("a"), source=rule)) for n in range(2)]
    listener = http_listener("l", table("i", host("h", route(None, to("a"), source=own))))
    found = Translator().snapshot(view(table("t", *shared), replace(listener, sources=(rule,))))
    assert {entry.name: entry.sources for entry in found} == {"t": (rule,), "i": (own,), "l": (rule,)}


def test_layers_that_nobody_uses_are_let_go() -> None:
    translator = Translator()
    shared: Layer | None = layer(cluster("a"))
    assert shared is not None
    snapshot = translator.snapshot(ProxyView(layers=(shared,)))
    bundle = weakref.ref(snapshot.bundles[0])
    del shared, snapshot
    gc.collect()
    assert bundle() is None
