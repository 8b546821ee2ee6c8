"""The bookshop, each service a process, called over its socket."""

from __future__ import annotations

import json
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.apps import App, running

TRACING = {
    "x-request-id": "r-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
    "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
    "end-user": "jason",
}


class Recorder(ThreadingHTTPServer):
    """Answers everything with the same JSON and remembers what was asked."""

    daemon_threads = True

    def __init__(self, status: int, body: object) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.silent = threading.Event()
        recorder = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                recorder.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                if status == 0:
                    recorder.silent.wait()
                    self.close_connection = True
                    return
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Answering)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def recorder(status: int = 200, body: object = None) -> Iterator[Recorder]:
    with Recorder(status, body) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.silent.set()
            socketserver.BaseServer.shutdown(server)
            thread.join()


@contextmanager
def shop(reviews_version: str = "v2") -> Iterator[App]:
    with (
        running("ratings") as ratings,
        running("details") as details,
        running("reviews", "--version", reviews_version, "--ratings", ratings.url) as reviews,
        running("productpage", "--details", details.url, "--reviews", reviews.url, "--ratings", ratings.url) as page,
    ):
        yield page


def test_ratings_answer_byte_for_byte() -> None:
    with running("ratings") as app:
        assert app.ask("/ratings/0")[2] == '{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}'
        assert app.ask("/ratings/7")[2] == '{"id":7,"ratings":{"Reviewer1":5,"Reviewer2":4}}'
        assert [app.ask(path)[0] for path in ("/health", "/ratings/x", "/ratings", "/other")] == [200, 400, 400, 404]


def test_details_tell_the_facts() -> None:
    with running("details") as app:
        book = json.loads(app.ask("/details/0")[2])
        assert (book["id"], book["author"], book["year"], book["ISBN-10"]) == (0, "William Shakespeare", 1595, "1234567890")
        assert [app.ask(path)[0] for path in ("/health", "/details/x", "/")] == [200, 400, 404]


@pytest.mark.parametrize(("version", "color"), [("v1", None), ("v2", "black"), ("v3", "red")])
def test_reviews_of_each_version(version: str, color: str | None) -> None:
    with recorder(200, {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}) as ratings:
        with running("reviews", "--version", version, "--ratings", ratings.url) as app:
            status, _, text = app.ask("/reviews/0", headers=TRACING)
        answer = json.loads(text)
        assert (status, answer["id"], len(answer["reviews"])) == (200, "0", 2)
        if color is None:
            assert not ratings.seen
            assert all("rating" not in review for review in answer["reviews"])
        else:
            assert [path for path, _ in ratings.seen] == ["/ratings/0"]
            assert ratings.seen[0][1].items() >= TRACING.items()
            assert [review["rating"] for review in answer["reviews"]] == [{"stars": 5, "color": color}, {"stars": 4, "color": color}]


def test_reviews_go_out_without_stars_when_ratings_fail() -> None:
    with recorder(500, {}) as ratings, running("reviews", "--version", "v3", "--ratings", ratings.url) as app:
        status, _, text = app.ask("/reviews/0")
    assert status == 200
    assert {review["rating"]["error"] for review in json.loads(text)["reviews"]} == {"Ratings service is currently unavailable"}


def test_calls_go_through_the_proxy_in_absolute_form() -> None:
    with recorder(200, {"id": 0, "ratings": {"Reviewer1": 1, "Reviewer2": 2}}) as proxy:
        with running("reviews", "--version", "v2", env={"http_proxy": proxy.url}) as app:
            for _ in range(3):
                assert '"stars":2' in app.ask("/reviews/0")[2]
        assert {(path, headers["host"]) for path, headers in proxy.seen} == {("http://ratings:9080/ratings/0", "ratings:9080")}


def test_the_page_shows_book_and_reviews() -> None:
    with shop() as page:
        status, headers, text = page.ask("/productpage")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "The Comedy of Errors" in text
    assert "William Shakespeare" in text
    assert 'class="stars black"' in text
    assert re.search(r"Reviews served by: <code>reviews-v2-\d+</code>", text)


def test_the_api_of_the_page() -> None:
    with shop("v1") as page:
        assert json.loads(page.ask("/api/v1/products")[2])[0]["title"] == "The Comedy of Errors"
        assert json.loads(page.ask("/api/v1/products/0")[2])["year"] == 1595
        assert len(json.loads(page.ask("/api/v1/products/0/reviews")[2])["reviews"]) == 2
        assert page.ask("/api/v1/products/0/ratings")[2] == '{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}'
        assert [page.ask(path)[0] for path in ("/", "/health", "/static/style.css", "/api/v1/products/1")] == [200, 200, 200, 404]
        assert page.ask("/productpage", method="HEAD")[2] == ""


def test_who_logs_in_becomes_the_end_user() -> None:
    with recorder(200, {"reviews": []}) as reviews, running("productpage", "--reviews", reviews.url, "--details", reviews.url) as page:
        status, headers, _ = page.ask("/login", method="POST", body=b"username=jason&passwd=x")
        assert (status, headers["location"]) == (302, "/productpage")
        cookie = headers["set-cookie"].split(";")[0]
        assert "jason" in page.ask("/productpage", headers={"cookie": cookie, "end-user": "other"})[2]
        assert {seen["end-user"] for _, seen in reviews.seen} == {"jason"}
        reviews.seen.clear()
        forged = cookie.replace(b"jason".hex(), b"admin".hex())
        for bad in (forged, "session=zz.1", "session=é", ""):
            assert "sign out" not in page.ask("/productpage", headers={"cookie": bad.encode().decode("latin-1")})[2]
        assert all("end-user" not in seen for _, seen in reviews.seen)
        assert "Max-Age=0" in page.ask("/logout", headers={"cookie": cookie})[1]["set-cookie"]
        assert page.ask("/login", method="POST", body=b"username=")[0] == 400


def test_the_page_tries_twice_for_three_seconds_and_apologises() -> None:
    with recorder(0) as silent, recorder(200, {"year": 1595}) as details:
        with running("productpage", "--reviews", silent.url, "--details", details.url) as page:
            started = time.monotonic()
            status, _, text = page.ask("/productpage")
            took = time.monotonic() - started
        assert status == 200
        assert "Sorry, product reviews are currently unavailable for this book." in text
        assert len(silent.seen) == 2
        assert took > 5.9


def test_an_error_status_travels_to_the_caller_of_the_api() -> None:
    with recorder(418, {}) as broken:
        with running("productpage", "--reviews", broken.url, "--details", broken.url, "--ratings", broken.url) as page:
            assert [page.ask(f"/api/v1/products/0{path}")[0] for path in ("", "/reviews", "/ratings")] == [418, 418, 418]
            assert "Sorry, product details are currently unavailable" in page.ask("/productpage")[2]
        assert len(broken.seen) == 1 + 2 + 1 + 1 + 2
