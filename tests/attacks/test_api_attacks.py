"""Requests to the control plane's API that others had somebody's browser or machine send, or that are made to wear it down."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from support.api import Api, running_api
from support.carried import until
from support.consul import Consul, running_consul
from support.documents import virtual_service
from support.wire import told

APPLY = json.dumps({"files": [{"path": "a.yaml", "text": virtual_service("evil")}]}).encode()


@pytest.fixture(scope="module", name="api")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module", name="consul")
def _consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul")) as running:
        yield running


def sent(port: int, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # some are answered before all is sent
            connection.request(method, path, body, dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def applied(api: Api) -> bool:
    return api.request("GET", "/api/v1/resources/VirtualService/default/evil")[0] == 200


REBOUND = (
    "evil.example",
    "evil.example:8500",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "[::1].evil.example",
    "10.0.0.1",
    "0x7f.1",
)


@pytest.mark.parametrize("host", REBOUND)
def test_dns_rebinding_reaches_nothing(api: Api, consul: Consul, host: str) -> None:
    """A page whose name was made to lead to this machine sends its own name."""
    for path in ("/api/v1/resources", "/api/v1/apply", "/api/v1/tokens", "/metrics", "/healthz"):
        assert sent(api.port, "GET", path, {"host": host}) == 403
    assert sent(api.port, "POST", "/api/v1/apply", {"host": host, "origin": f"http://{host}"}, APPLY) == 403
    assert not applied(api)
    for method, path in (
        ("GET", "/v1/catalog/services"),
        ("GET", "/v1/kv/?recurse"),
        ("PUT", "/v1/kv/a"),
        ("PUT", "/v1/agent/service/register"),
    ):
        assert sent(consul.port, method, path, {"host": host}, b"{}" if method == "PUT" else b"") == 403


FOREIGN = {
    "a page": {"origin": "http://evil.example"},
    "a page of another port": {"origin": "http://127.0.0.1:3000"},
    "a page over TLS": {"origin": "https://evil.example"},
    "a page in a sandbox": {"origin": "null"},
    "a page whose name begins alike": {"origin": "http://127.0.0.1.evil.example"},
    "a form": {"origin": "http://evil.example", "content-type": "application/x-www-form-urlencoded"},
    "plain text": {"origin": "http://evil.example", "content-type": "text/plain"},
    "no type": {"origin": "http://evil.example", "content-type": ""},
    "no origin, another site": {"sec-fetch-site": "cross-site"},
    "no origin, the same site": {"sec-fetch-site": "same-site"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_pages_of_others_change_nothing(api: Api, consul: Consul, headers: dict[str, str]) -> None:
    assert sent(api.port, "POST", "/api/v1/apply", headers, APPLY) == 403
    assert sent(api.port, "DELETE", "/api/v1/registrations/a", headers) == 403
    assert not applied(api)
    assert sent(consul.port, "PUT", "/v1/kv/evil", headers, b"x") == 403
    assert sent(consul.port, "GET", "/v1/kv/evil", {}) == 404


def test_pages_of_others_are_given_nothing_to_read(api: Api) -> None:
    """No answer says that they may."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
    for method in ("GET", "OPTIONS"):
        connection.request(method, "/api/v1/resources", headers={"origin": "http://evil.example", "access-control-request-method": "POST"})
        answer = connection.getresponse()
        answer.read()
        assert [name for name, _ in answer.getheaders() if name.lower().startswith("access-control-")] == []
    connection.close()


def test_a_method_in_a_header_is_no_method(api: Api) -> None:
    override = {"x-http-method-override": "DELETE", "x-method-override": "DELETE", "x-http-method": "DELETE"}
    assert sent(api.port, "GET", "/api/v1/registrations/nobody", override) == 404
    assert sent(api.port, "GET", "/api/v1/apply?_method=POST", override) == 405


CLIMBING = (
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..\\..\\etc\\passwd",
    "%00",
    "a%0d%0ax:y",
    "%c0%ae%c0%ae/",
)


@pytest.mark.parametrize("name", CLIMBING)
def test_names_lead_to_no_files(api: Api, consul: Consul, name: str) -> None:
    for path in (
        f"/api/v1/resources/VirtualService/default/{name}",
        f"/api/v1/resources/VirtualService/{name}/a",
        f"/api/v1/endpoints/{name}",
    ):
        assert sent(api.port, "GET", path, {}) in (400, 403, 404)
    for path in (f"/v1/kv/{name}", f"/v1/catalog/service/{name}", f"/v1/health/node/{name}"):
        assert sent(consul.port, "GET", path, {}) in (200, 400, 403, 404)
    assert sent(consul.port, "PUT", f"/v1/kv/{name}", {}, b"kept as a key, whatever it looks like") in (200, 400, 404)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\nb", "\x1b[2J", "a b", "A" * 300, ""])
def test_a_registration_does_not_take_any_name(api: Api, name: str) -> None:
    status, told_ = api.request("PUT", "/api/v1/registrations/a", {"service": name, "ports": [{"number": 80}]})
    assert (status, "error" in told_) == (400, True)


DEEP = b"[" * 200_000
BODIES = {
    "deep JSON": DEEP,
    "deep objects": b'{"files":' * 50_000,
    "a number of many digits": b'{"files": ' + b"9" * 100_000 + b"}",
    "no JSON": b"\xff\xfe\x00",
    "a list": b"[]",
    "a text": b'"files"',
    "keys given twice": b'{"files": [], "files": 1}',
    "a file that is no text": b'{"files": [{"path": 1, "text": {}}]}',
    "NaN": b'{"files": NaN}',
    "half a character": b'{"files": [{"path": "a", "text": "\\ud800"}]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_none_is_refused(api: Api, body: bytes) -> None:
    for path in ("/api/v1/apply", "/api/v1/delete", "/api/v1/explain"):
        assert sent(api.port, "POST", path, {"content-type": "application/json"}, body) in (400, 422)


def test_a_body_without_end_is_cut_off(api: Api) -> None:
    """Whether its length is said or not."""
    assert told(api.port, b"POST /api/v1/apply HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n") == 413
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as connection:
        connection.sendall(b"POST /api/v1/apply HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(chunk)


def test_a_head_without_end_is_cut_off(api: Api) -> None:
    assert told(api.port, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 80_000) in (0, 400, 431)
    assert sent(api.port, "GET", "/" + "a" * 70_000, {}) in (400, 404, 431)


def test_requests_with_two_ends_are_refused(api: Api) -> None:
    hidden = b"0\r\n\r\nDELETE /api/v1/registrations/a HTTP/1.1\r\nhost: localhost\r\n\r\n"
    post = b"POST /api/v1/validate HTTP/1.1\r\nhost: localhost\r\n"
    assert told(api.port, post + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + hidden) == 400
    assert told(api.port, post + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello") == 400
    assert told(api.port, post + b"transfer-encoding: xchunked\r\n\r\n" + hidden) == 400


SLOW = {
    "silence": b"",
    "half a line": b"GET /healthz HT",
    "headers without end": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: y\r\n",
    "blank lines": b"\r\n\r\n",
    "a body that does not come": b"POST /api/v1/apply HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
    "half of a second request": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /healthz HT",
}


def test_who_sends_slowly_is_not_waited_for(tmp_path: Path) -> None:
    """All of them side by side, and somebody else is served meanwhile."""
    with running_api(tmp_path, patience=0.5) as api:
        waiting = {}
        for name, first in SLOW.items():
            waiting[name] = socket.create_connection(("127.0.0.1", api.port), timeout=60)
            with suppress(ConnectionError):
                waiting[name].sendall(first)
        until(lambda: served(api))
        for connection in waiting.values():
            with connection, suppress(ConnectionError):
                while connection.recv(65536):
                    pass


def served(api: Api) -> bool:
    """A machine that stalls may be slow itself."""
    with suppress(ConnectionError):
        assert api.request("GET", "/healthz")[0] == 200
        return True
    return False


@pytest.mark.parametrize(
    "expression", ['Name matches "(a+)+$"', 'Name matches "(.*a){50}"', "(" * 60 + 'Name == "a"' + ")" * 60, "a" * 9000]
)
def test_a_filter_does_not_keep_anybody_busy(consul: Consul, expression: str) -> None:
    """Patterns take time in proportion to what they look at; filters are no longer and no deeper than somebody may read."""
    sent(consul.port, "PUT", "/v1/agent/service/register", {}, json.dumps({"Name": "a" * 60, "Port": 1}).encode())
    assert sent(consul.port, "GET", f"/v1/agent/services?filter={quote(expression)}", {}) in (200, 400)
