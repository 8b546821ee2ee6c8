"""The HTTP API, over real sockets: what it answers, what it refuses, and that nothing makes it fail."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.api import Api, running_api
from support.documents import BAD, destination_rule, together, virtual_service
from tulle.model.resource import Condition, Key, Origin, Status, Violation
from tulle.server.guard import is_loopback
from tulle.server.http import ListenError, listen
from tulle.settings import Address
from tulle.store.records import violations_json


@pytest.fixture
def api(tmp_path: Any) -> Iterator[Api]:
    with running_api(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """For tests that leave nothing behind."""
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


# === documents


def test_apply_get_delete(api: Api) -> None:
    status, report = api.apply(together(virtual_service(), destination_rule()))
    assert status == 200
    assert [(r["kind"], r["name"], r["outcome"], r["line"]) for r in report["results"]] == [
        ("VirtualService", "reviews", "created", 1),
        ("DestinationRule", "reviews", "created", 12),
    ]
    status, document = api.request("GET", "/api/v1/resources/vs/default/reviews")
    assert status == 200
    assert document["spec"]["http"][0]["timeout"] == "5s"
    assert document["metadata"] == {"name": "reviews", "namespace": "default", "generation": 1, "resourceVersion": str(report["revision"])}
    assert document["status"]["origin"] == "test.yaml:1"
    assert [(c["type"], c["status"]) for c in document["status"]["conditions"]] == [("Accepted", "True"), ("Programmed", "True")]
    assert (
        api.request("POST", "/api/v1/delete", {"resources": [{"kind": "vs", "name": "reviews"}]})[1]["results"][0]["outcome"] == "deleted"
    )
    status, answer = api.request("GET", "/api/v1/resources/vs/default/reviews")
    assert (status, answer["error"]) == (404, "there is no VirtualService 'reviews' in namespace 'default'")
    assert len(api.request("GET", "/api/v1/resources")[1]["items"]) == 1


def test_violations_are_told_with_status_422_and_the_good_are_applied(api: Api) -> None:
    status, report = api.apply(together(BAD, destination_rule()))
    assert (status, report["error"]) == (422, "1 violation")
    assert [r["outcome"] for r in report["results"]] == ["rejected", "created"]
    violation = report["violations"][0]
    assert (violation["path"], violation["line"], violation["resource"]) == ("test.yaml", 8, "VirtualService/reviews")
    document = api.request("GET", "/api/v1/resources/virtualservice/default/reviews")[1]
    assert "spec" not in document
    conditions = {c["type"]: (c["status"], c["reason"]) for c in document["status"]["conditions"]}
    assert conditions == {"Accepted": ("False", "Invalid"), "Programmed": ("False", "Invalid")}


def test_what_get_shows_can_be_applied_again(api: Api) -> None:
    api.apply(virtual_service())
    document = api.request("GET", "/api/v1/resources/vs/default/reviews")[1]
    status, report = api.apply(json.dumps(document))
    assert (status, report["violations"]) == (200, [])


def test_expect_is_compare_and_swap(api: Api) -> None:
    revision = api.apply(virtual_service())[1]["revision"]
    status, answer = api.apply(virtual_service(timeout="6s"), expect={"VirtualService/default/reviews": revision - 1})
    assert (status, "somebody changed it since" in answer["error"]) == (409, True)
    assert api.apply(virtual_service(timeout="6s"), expect={"VirtualService/default/reviews": revision})[0] == 200
    assert api.apply(virtual_service(), expect={"nonsense": 1})[0] == 400


def test_only_what_is_not_done_is_foreseen(api: Api) -> None:
    broken = Violation(origin=Origin(path="other.yaml", line=3), resource="Gateway/edge", message="is broken by it", namespace="default")
    api.mesh.arising = [broken]
    assert api.apply(virtual_service(), dryRun=True)[1]["warnings"] == violations_json([broken])
    assert api.apply(virtual_service())[1]["warnings"] == []
    assert api.apply(virtual_service(), dryRun=True)[1]["warnings"] == []  # as nothing would be another
    names = {"resources": [{"kind": "vs", "name": "reviews"}, {"kind": "vs", "name": "nobody"}]}
    assert api.request("POST", "/api/v1/delete", names | {"dryRun": True})[1]["warnings"] == violations_json([broken])
    files = {"files": [{"path": "x", "text": virtual_service(timeout="9s")}]}
    assert api.request("POST", "/api/v1/diff", files)[1]["warnings"] == violations_json([broken])
    key = Key(kind="VirtualService", namespace="default", name="reviews")
    assert [list(change) for change in api.mesh.asked] == [[key]] * 3
    assert [change[key] is None for change in api.mesh.asked] == [False, True, False]


def test_wait_waits_for_the_revision_of_the_apply(api: Api) -> None:
    report = api.apply(virtual_service(), wait="7s")[1]
    assert report["acknowledged"] == {"complete": True, "proxies": 1, "acknowledged": 1, "refusals": []}
    assert api.mesh.waited == [(report["revision"], 7.0)]
    assert "acknowledged" not in api.apply(virtual_service(), wait="7s", dryRun=True)[1]
    assert api.apply(virtual_service(), wait="soon")[0] == 400
    assert api.apply(virtual_service(), wait="1h")[0] == 400


def test_diff_and_validate_change_nothing(api: Api) -> None:
    api.apply(virtual_service())
    files = {"files": [{"path": "x.yaml", "text": virtual_service(timeout="6s")}]}
    status, answer = api.request("POST", "/api/v1/diff", files)
    assert status == 200
    assert "+  - timeout: 6s" in answer["differences"][0]["diff"]
    assert api.request("POST", "/api/v1/validate", files) == (200, {"violations": [], "warnings": []})
    assert api.request("POST", "/api/v1/validate", {"files": [{"path": "x", "text": BAD}]})[0] == 422
    assert api.request("GET", "/api/v1/resources/vs/default/reviews")[1]["metadata"]["generation"] == 1


def test_what_compiling_found_is_shown_on_the_document_and_told_to_who_waits(api: Api) -> None:
    key = Key(kind="VirtualService", namespace="default", name="reviews")
    found = Violation(origin=Origin(path="test.yaml", line=10), resource="VirtualService/reviews", field="spec", message="no such subset")
    wrong = Condition(type="Accepted", status=False, reason="Conflict", message="another has this host")
    address = Condition(type="Addresses", status=True, reason="Bound", message="80 on 8080")
    api.mesh.compiled[key] = Status(conditions=(address, wrong), warnings=(found,))
    report = api.apply(virtual_service(), wait="1s")[1]
    assert [w["message"] for w in report["warnings"]] == ["no such subset"]
    status = api.request("GET", "/api/v1/resources/vs/default/reviews")[1]["status"]
    assert [w["message"] for w in status["warnings"]] == ["no such subset"]
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Accepted", "False", "Conflict"),
        ("Programmed", "Unknown", "Pending"),
        ("Addresses", "True", "Bound"),
    ]
    api.apply(BAD)
    status = api.request("GET", "/api/v1/resources/vs/default/reviews")[1]["status"]
    assert (status["conditions"][0]["reason"], len(status["conditions"])) == ("Invalid", 3)


def test_documents_without_a_namespace_go_where_the_request_says(api: Api) -> None:
    api.apply(together(virtual_service("a"), virtual_service("b", namespace="other")), namespace="shop")
    api.apply(virtual_service("c", timeout="soon"), namespace="shop")
    items = api.request("GET", "/api/v1/resources")[1]["items"]
    assert [(i["metadata"]["namespace"], i["metadata"]["name"]) for i in items] == [("other", "b"), ("shop", "a"), ("shop", "c")]
    body = {"files": [{"path": "x", "text": virtual_service("a")}], "namespace": "shop"}
    assert api.request("POST", "/api/v1/diff", body)[1]["differences"] == []
    assert api.request("POST", "/api/v1/delete", body)[1]["results"][0]["outcome"] == "deleted"
    assert api.apply(virtual_service(), namespace="Not A Name")[0] == 400


def test_a_mesh_file_is_not_applied_in_silence(api: Api) -> None:
    mesh = "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: shop}\nspec: {}\n"
    status, report = api.apply(together(mesh, virtual_service()), path="mesh.yaml")
    assert (status, len(report["results"])) == (200, 1)
    assert (report["warnings"][0]["line"], "started with `tulle up`" in report["warnings"][0]["message"]) == (1, True)


def test_list_by_kind_and_namespace(api: Api) -> None:
    api.apply(together(virtual_service(), virtual_service(namespace="shop"), destination_rule()))
    names = lambda path: [(i["kind"], i["metadata"]["namespace"]) for i in api.request("GET", path)[1]["items"]]  # noqa: E731
    assert names("/api/v1/resources/virtualservices?namespace=shop") == [("VirtualService", "shop")]
    assert names("/api/v1/resources?namespace=default") == [("DestinationRule", "default"), ("VirtualService", "default")]
    assert names("/api/v1/resources/Gateway") == []
    status, answer = api.request("GET", "/api/v1/resources/pod")
    assert (status, answer["error"].startswith("there is no kind 'pod'; kinds are VirtualService, ")) == (400, True)


def test_documents_outlive_the_control_plane(tmp_path: Any) -> None:
    with running_api(tmp_path) as api:
        api.apply(together(virtual_service(), destination_rule("bad", host="")))
        before = api.request("GET", "/api/v1/resources")
    with running_api(tmp_path) as api:
        assert api.request("GET", "/api/v1/resources") == before


# === registrations


def test_register_renew_deregister(api: Api) -> None:
    body = {"service": "reviews", "ports": [{"number": 9080, "target": 4711}], "labels": {"version": "v1"}}
    status, first = api.request("PUT", "/api/v1/registrations/sidecar~reviews/1?ttl=600s", body)
    assert (status, first["id"]) == (200, "sidecar~reviews/1")
    assert api.request("PUT", "/api/v1/registrations/sidecar~reviews%2F1?ttl=600s", body) == (200, first)
    found = api.request("GET", "/api/v1/registrations/sidecar~reviews/1")[1]
    assert (found["service"], found["ports"][0]["protocol"], found["labels"]) == ("reviews", "HTTP", {"version": "v1"})
    assert len(api.request("GET", "/api/v1/registrations")[1]["registrations"]) == 1
    status, answer = api.request("DELETE", "/api/v1/registrations/sidecar~reviews/1?wait=3s")
    assert (status, answer["acknowledged"]["complete"]) == (200, True)
    assert api.mesh.waited == [(answer["revision"], 3.0)]
    assert api.request("DELETE", "/api/v1/registrations/sidecar~reviews/1")[0] == 404
    assert api.request("GET", "/api/v1/registrations/sidecar~reviews/1")[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("a?ttl=never", {"service": "a"}, "ttl: must be a duration"),
        ("a?ttl=10ms", {"service": "a"}, "ttl: must be from 1s to 86400s, not 10ms"),
        ("a?ttl=48h", {"service": "a"}, "ttl: must be from 1s"),
        ("a?wait=x", {"service": "a"}, "wait: must be a duration"),
        ("a", {"service": "a", "port": 1}, "registration 'a' cannot be used: port: unknown field"),
        ("a", b"{", "registration 'a' cannot be used: "),
        ("%00", {"service": "a"}, "registration '\\x00' cannot be used: id: "),
    ],
)
def test_a_registration_that_cannot_be_used_is_told_why(shared: Api, path: str, body: object, error: str) -> None:
    status, answer = shared.request("PUT", f"/api/v1/registrations/{path}", body)
    assert status == 400
    assert answer["error"].startswith(error)


# === the running mesh


def test_what_runs(shared: Api) -> None:
    assert shared.request("GET", "/api/v1/services")[1]["services"][0]["host"] == "reviews.default.svc.cluster.local"
    endpoint = shared.request("GET", "/api/v1/endpoints/reviews")[1]["endpoints"][0]
    assert (endpoint["address"], endpoint["port"], endpoint["servicePort"], endpoint["health"]) == ("127.0.0.1", 4711, 9080, "passing")
    assert len(shared.request("GET", "/api/v1/endpoints")[1]["endpoints"]) == 1
    assert shared.request("GET", "/api/v1/endpoints/nobody")[0] == 404
    proxy = shared.request("GET", "/api/v1/proxies")[1]["proxies"][0]
    assert (proxy["id"], proxy["current"], proxy["connectedSince"]) == ("sidecar~a", True, "2026-01-02T03:04:05+00:00")


def test_explain(shared: Api) -> None:
    assert shared.request("POST", "/api/v1/explain", {"url": "http://reviews/"}) == (200, {"route": "default"})
    assert shared.request("POST", "/api/v1/explain", {}) == (400, {"error": "url: required", "violations": []})
    status, answer = shared.request("POST", "/api/v1/explain", {"url": "http://a", "from": "nobody"})
    assert (status, answer["error"]) == (404, "no proxy is called 'nobody'")
    assert shared.request("POST", "/api/v1/explain", [])[0] == 400


def test_health_and_metrics(api: Api) -> None:
    assert api.request("GET", "/healthz") == (200, "ok\n")
    assert api.request("GET", "/readyz") == (200, "ok\n")
    api.mesh.why_not_ready = "documents are not compiled"
    assert api.request("GET", "/readyz") == (503, "not ready: documents are not compiled\n")
    status, text = api.request("GET", "/metrics")
    assert status == 200
    assert 'tulle_http_requests_total{code="503",method="GET"}' in text


# === what is refused


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8500", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_for_another_host_are_refused(shared: Api, host: str, method: str) -> None:
    status, answer = shared.request(method, "/api/v1/proxies", headers={"host": host})
    assert status in (400, 403)
    if status == 403:
        assert "is not a loopback name" in answer["error"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "a.localhost"])
def test_loopback_by_any_name(shared: Api, host: str) -> None:
    assert shared.request("GET", "/api/v1/proxies", headers={"host": f"{host}:{shared.port}"})[0] == 200


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://["}, {"sec-fetch-site": "cross-site"}]
)
def test_pages_of_other_sites_change_nothing(api: Api, headers: dict[str, str]) -> None:
    body = {"files": [{"path": "x", "text": virtual_service()}]}
    assert api.request("POST", "/api/v1/apply", body, headers)[0] == 403
    assert api.request("PUT", "/api/v1/registrations/a", {"service": "a"}, headers)[0] == 403
    assert api.request("GET", "/api/v1/resources", headers=headers) == (200, {"items": []})


def test_our_own_page_may_change_things(api: Api) -> None:
    body = {"files": [{"path": "x", "text": virtual_service()}]}
    assert api.request("POST", "/api/v1/apply", body, {"origin": api.url, "sec-fetch-site": "same-origin"})[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/services/", 404),
        ("GET", "/v1/catalog/services", 404),
        ("GET", "/api/v1/apply", 405),
        ("DELETE", "/api/v1/resources/vs/default/a", 405),
        ("PATCH", "/api/v1/services", 405),
        ("GET", "/api/v1/resources/vs/..%2f..%2fetc/passwd", 404),
    ],
)
def test_what_there_is_not(shared: Api, method: str, path: str, status: int) -> None:
    found, answer = shared.request(method, path)
    assert found == status
    assert set(answer) == {"error", "violations"}


def test_a_method_that_is_not_allowed_is_told_which_are(shared: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
    connection.request("GET", "/api/v1/apply")
    response = connection.getresponse()
    assert response.getheader("allow") == "POST"
    connection.close()


@pytest.mark.parametrize("said", [True, False])
def test_a_body_that_is_too_large_is_not_read(shared: Api, said: bool) -> None:
    """With a length that says so, and in chunks without any."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
    connection.putrequest("PUT", "/api/v1/registrations/a")
    connection.putheader(*(("content-length", str(10**12)) if said else ("transfer-encoding", "chunked")))
    connection.endheaders()
    if not said:
        connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        for _ in range(4):
            connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    response = connection.getresponse()
    assert response.status == 413
    assert "larger than" in json.loads(response.read())["error"]
    connection.close()


def test_a_defect_is_told_without_its_inside(api: Api) -> None:
    status, answer = api.request("POST", "/api/v1/explain", {"url": "http://a", "from": "defect"})
    assert (status, answer) == (500, {"error": "the control plane failed to answer; its log says why", "violations": []})
    assert api.request("GET", "/healthz")[0] == 200


def test_a_store_that_cannot_be_written_is_told(api: Api, tmp_path: Any) -> None:
    assert api.request("GET", "/healthz")[0] == 200
    other = sqlite3.connect(tmp_path / "tulle.db")
    other.execute("ALTER TABLE entries RENAME TO elsewhere")
    status, answer = api.apply(virtual_service())
    assert (status, "cannot be written: no such table: entries" in answer["error"]) == (503, True)
    assert api.request("GET", "/api/v1/resources") == (200, {"items": []})
    other.execute("ALTER TABLE elsewhere RENAME TO entries")
    other.close()
    assert api.apply(virtual_service())[0] == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["files", "path", "text", "dryRun", "wait", "expect", "kind", "name"]), inner)
    ),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        "apiVersion: ",
        "kind: VirtualService\n",
        "kind: ",
        "metadata: {name: a}\n",
        "spec:\n",
        "  hosts: [a]\n",
        "---\n",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a ",
        "<<: ",
        "\t",
        "|\n",
        ">-\n",
        "!!python/object:os.system ",
        "\x00",
        "\ufeff",
        "\udc80",
        "é",
        "1e999",
        ".inf",
        "0x",
        "? ",
        ": ",
        "#",
        "'",
        '"',
        "\n",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=8), max_size=25).map("".join)


def post(api: Api, path: str, body: bytes) -> tuple[int, Any]:
    return api.request("POST", path, body)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    path=st.sampled_from(["apply", "delete", "diff", "validate", "explain"]),
    body=JSON.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=100),
)
def test_no_body_makes_it_fail(shared: Api, path: str, body: bytes) -> None:
    status, answer = post(shared, f"/api/v1/{path}", body)
    assert status in (200, 400, 404, 422)
    assert status in (200, 422) or set(answer) == {"error", "violations"}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=TEXTS, path=st.sampled_from(["apply", "delete", "diff", "validate"]))
def test_no_document_makes_it_fail(shared: Api, text: str, path: str) -> None:
    status, answer = post(shared, f"/api/v1/{path}", json.dumps({"files": [{"path": "fuzz.yaml", "text": text}]}).encode())
    assert status in (200, 400, 422), answer
    assert status != 422 or answer["violations"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    path=st.text(max_size=30).map(lambda t: "".join(f"%{b:02x}" for b in t.encode("utf-8", "surrogatepass"))),
    query=st.text("abc=&%wait1s", max_size=10),
)
def test_no_path_makes_it_fail(shared: Api, path: str, query: str) -> None:
    for prefix in ("/", "/api/v1/resources/", "/api/v1/resources/vs/default/", "/api/v1/registrations/", "/api/v1/endpoints/"):
        assert shared.request("GET", f"{prefix}{path}?{query}")[0] in (200, 400, 404)


def test_loopback_names() -> None:
    assert is_loopback("localhost:1") and is_loopback("[::1]:80") and is_loopback("127.0.0.1")
    assert not any(is_loopback(name) for name in ("", "localhost.evil", "127.0.0.1@evil", "[", "0.0.0.0", "1"))


def test_an_address_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port} for the API: Address already in use; stop what uses it"):
            listen(Address(host="127.0.0.1", port=port))
