"""What a proxy's statistics tell of callers in plain text."""

from __future__ import annotations

from tulle.agent.callers import Callers, Calls, Counted


def stats(total: int, handshakes: int, failed: int = 0, listen: int = 20001) -> dict[str, int]:
    at = f"listener.127.0.0.1_{listen}"
    return {
        f"{at}.downstream_cx_total": total,
        f"{at}.ssl.handshake": handshakes,
        f"{at}.ssl.connection_error": failed,
        f"{at}.worker_0.downstream_cx_total": total,
        "listener.admin.downstream_cx_total": 9,
    }


def test_what_is_neither_mutual_tls_nor_failed_was_plain_text() -> None:
    counted = Counted({20001: 80})
    counted.take(stats(5, 3, 1), "noon")
    assert counted.current == {80: Callers(port=80, mutual=3, plain=1, last="noon", failed=1)}
    counted.take(stats(7, 5, 1), "one")
    assert counted.current[80].last == "noon"
    counted.take(stats(9, 6, 1), "two")
    assert counted.current[80] == Callers(port=80, mutual=6, plain=2, last="two", failed=1)


def test_a_proxy_that_was_started_again_counts_from_zero() -> None:
    counted = Counted({20001: 80})
    counted.take(stats(5, 3), "noon")
    counted.take(stats(0, 0), "one")
    assert counted.current[80] == Callers(port=80, last="noon")
    counted.take(stats(1, 0), "two")
    assert counted.current[80] == Callers(port=80, plain=1, last="two")


def test_other_listeners_do_not_count() -> None:
    counted = Counted({20001: 80})
    counted.take(stats(5, 0, listen=15001), "noon")
    assert counted.current == {}


def test_what_was_refused_and_what_failed() -> None:
    counted = Counted({20001: 80})
    at = "listener.127.0.0.1_20001"
    requests = {"http.inbound|80||.downstream_rq_total": 9, "http.inbound|80||.downstream_rq_5xx": 2}
    refused = {f"{at}.no_filter_chain_match": 3, f"{at}.ssl.fail_verify_no_cert": 1}
    counted.take(stats(4, 2, 1) | requests | refused, "noon")
    assert counted.current == {80: Callers(port=80, mutual=2, plain=0, refused=3, failed=2, requests=9, errors=2, last="noon")}


def test_calls_that_failed_are_told_by_service() -> None:
    counted = Counted({})
    web = "outbound|80||web.default.svc.cluster.local"
    found = {f"cluster.{web}.upstream_cx_connect_fail": 2, f"cluster.{web}.upstream_rq_5xx": 1}
    counted.take(found | {"cluster.outbound|80||cart.default.svc.cluster.local.upstream_rq_5xx": 0}, "noon")
    assert counted.calls == (Calls(cluster=web, unreached=2, errors=1),)
