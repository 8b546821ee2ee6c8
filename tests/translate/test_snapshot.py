from __future__ import annotations

from support.views import cluster, endpoints, host, http_listener, layer, route, table, tcp_listener, to, view
from tulle.model.proxy import ProxyView
from tulle.translate import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Bundle, Entry, Snapshot, Translator


def snapshot(of: ProxyView) -> Snapshot:
    return Translator().snapshot(of)


def entry(name: str, type_url: str = CLUSTER, version: str = "1") -> Entry:
    return Entry(type_url=type_url, name=name, version=version, body=b"")


def test_lookups_go_through_all_bundles() -> None:
    one, two = Bundle.of([entry("a"), entry("b", ROUTES)]), Bundle.of([entry("c")])
    both = Snapshot(bundles=(one, two))
    found = both.get(CLUSTER, "c")
    assert found is not None
    assert found.name == "c"
    assert both.get(CLUSTER, "b") is None
    assert list(both.names(CLUSTER)) == ["a", "c"]
    assert both.versions() == {(CLUSTER, "a"): "1", (ROUTES, "b"): "1", (CLUSTER, "c"): "1"}


def test_a_sound_snapshot_has_no_problems() -> None:
    sound = view(
        http_listener("http", "routes"),
        tcp_listener("tcp", "a"),
        table("routes", host("h", route(None, to("a")))),
        cluster("a"),
        endpoints("a", 1),
    )
    assert snapshot(sound).problems() == ()


def test_everything_that_dangles_is_told() -> None:
    own = table("own", host("h", route(None, to("gone-own"))))
    broken = view(
        http_listener("http", "gone"),
        http_listener("owner", own),
        tcp_listener("tcp", "gone-too"),
        table("routes", host("h", route("/a", to("gone-route")), route(None, to("gone-route", "here")))),
        cluster("here"),
        cluster("inner", internal_listener="nobody"),
    )
    assert set(snapshot(broken).problems()) == {
        "listener 'http' names route table 'gone', which is not there",
        "route table 'own' names cluster 'gone-own', which is not there",
        "listener 'tcp' names cluster 'gone-too', which is not there",
        "route table 'routes' names cluster 'gone-route', which is not there",
        "cluster 'here' names endpoints of 'here', which is not there",
        "cluster 'inner' names listener 'nobody', which is not there",
    }


def test_names_that_stand_twice_are_told() -> None:
    within, across = layer(cluster("a"), cluster("a"), endpoints("a")), layer(cluster("a"), tcp_listener("l", "a"), tcp_listener("l", "a"))
    problems = snapshot(ProxyView(layers=(within, across))).problems()
    assert problems == ("cluster 'a' is there twice", "listener 'l' is there twice", "cluster 'a' is there twice")


def test_the_types_are_those_that_envoy_names() -> None:
    names = [url.rpartition(".")[2] for url in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)]
    assert names == ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"]
