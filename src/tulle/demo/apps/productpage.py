"""The page of a book: what readers come for. It asks details and reviews and shows what it got of them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl

from tulle.demo.apps.client import Answer, Client, UnavailableError, passed_on
from tulle.demo.apps.http import Headers, Request, Response, json_response, not_found
from tulle.demo.apps.pages import STYLE, front_page, product_page
from tulle.demo.apps.serve import arguments, serve_http

TIMEOUT = 3.0
"""Seconds that details, ratings and each of two tries for reviews get."""
TRIES = 2

PRODUCT = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": "Two pairs of twins, parted by a shipwreck, walk about in the same town: whoever meets one takes him for the other.",
}
DETAILS_ERROR = "Sorry, product details are currently unavailable for this book."
REVIEWS_ERROR = "Sorry, product reviews are currently unavailable for this book."
RATINGS_ERROR = "Sorry, product ratings are currently unavailable for this book."

Fetched = tuple[int, object]


class Session:
    """Who is logged in, kept in a signed cookie."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def cookie(self, user: str) -> str:
        name = user.encode().hex()
        return f"session={name}.{self._sign(name)}; Path=/; HttpOnly; SameSite=Lax"

    def user(self, request: Request) -> str:
        """The name in a cookie of ours; empty for all others."""
        try:
            morsel = SimpleCookie(request.header("cookie")).get("session")
        except CookieError:
            return ""
        name, _, signature = (morsel.value if morsel else "").partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(name).encode()):
            return ""
        return bytes.fromhex(name).decode()

    def _sign(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the other services are."""

    details: str
    reviews: str
    ratings: str


class ProductPage:
    """The service."""

    def __init__(self, *, places: Places, client: Client, session: Session, timeout: float = TIMEOUT) -> None:
        self._places = places
        self._client = client
        self._session = session
        self._timeout = timeout
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/"): self._front,
            ("GET", "/index.html"): self._front,
            ("GET", "/health"): self._health,
            ("GET", "/static/style.css"): self._style,
            ("GET", "/productpage"): self._page,
            ("POST", "/login"): self._login,
            ("GET", "/logout"): self._logout,
            ("GET", "/api/v1/products"): self._products,
            ("GET", "/api/v1/products/0"): self._product,
            ("GET", "/api/v1/products/0/reviews"): self._product_reviews,
            ("GET", "/api/v1/products/0/ratings"): self._product_ratings,
        }

    async def handle(self, request: Request) -> Response:
        """One request. HEAD is served like GET."""
        route = self._routes.get(("GET" if request.method == "HEAD" else request.method, request.path))
        return await route(request) if route else not_found(request)

    async def _front(self, _: Request) -> Response:
        return _html(front_page())

    async def _health(self, _: Request) -> Response:
        return Response(body=b"Product page is healthy")

    async def _style(self, _: Request) -> Response:
        return Response(body=STYLE.encode(), content_type="text/css; charset=utf-8")

    async def _page(self, request: Request) -> Response:
        headers = self._headers(request)
        details, reviews = await asyncio.gather(self._details(headers), self._reviews(headers))
        return _html(product_page(product=PRODUCT, details=details, reviews=reviews, user=self._session.user(request)))

    async def _login(self, request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        user = form.get("username", "")
        if not user or not (user.isascii() and user.isprintable()):
            return Response(status=400, body=b"a user name is asked for, in plain letters")
        return _to_page(self._session.cookie(user))

    async def _logout(self, _: Request) -> Response:
        return _to_page("session=; Path=/; Max-Age=0")

    async def _products(self, _: Request) -> Response:
        return json_response([PRODUCT])

    async def _product(self, request: Request) -> Response:
        return _json(await self._details(self._headers(request)))

    async def _product_reviews(self, request: Request) -> Response:
        return _json(await self._reviews(self._headers(request)))

    async def _product_ratings(self, request: Request) -> Response:
        return _json(await self._get(f"{self._places.ratings}/ratings/0", self._headers(request), RATINGS_ERROR))

    async def _details(self, headers: Headers) -> Fetched:
        return await self._get(f"{self._places.details}/details/0", headers, DETAILS_ERROR)

    async def _reviews(self, headers: Headers) -> Fetched:
        fetched: Fetched = (503, {"error": REVIEWS_ERROR})
        for _ in range(TRIES):
            fetched = await self._get(f"{self._places.reviews}/reviews/0", headers, REVIEWS_ERROR)
            if fetched[0] == 200:
                break
        return fetched

    async def _get(self, url: str, headers: Headers, apology: str) -> Fetched:
        try:
            answer: Answer = await self._client.get(url, headers, timeout=self._timeout)
        except UnavailableError:
            return 503, {"error": apology}
        document = answer.json()
        if answer.status != 200 or document is None:
            return answer.status if answer.status >= 400 else 502, {"error": apology}
        return 200, document

    def _headers(self, request: Request) -> Headers:
        """What travels along; a user who is logged in is the end user, whatever the browser says."""
        user = self._session.user(request)
        passed = passed_on(request)
        return (*((n, v) for n, v in passed if n != "end-user"), ("end-user", user)) if user else passed


def _json(fetched: Fetched) -> Response:
    return json_response(fetched[1], fetched[0])


def _html(text: str) -> Response:
    return Response(body=text.encode(), content_type="text/html; charset=utf-8")


def _to_page(cookie: str) -> Response:
    return Response(status=302, headers=(("location", "/productpage"), ("set-cookie", cookie)))


def main() -> None:
    parser = arguments("productpage", 9080)
    for name in ("details", "reviews", "ratings"):
        parser.add_argument(f"--{name}", default=os.environ.get(f"{name.upper()}_URL", f"http://{name}:9080"), help=f"where {name} is")
    options = parser.parse_args()
    places = Places(details=options.details, reviews=options.reviews, ratings=options.ratings)
    key = os.environ.get("SESSION_KEY", "").encode() or secrets.token_bytes(32)
    serve_http(ProductPage(places=places, client=Client(), session=Session(key)).handle, options)


if __name__ == "__main__":
    main()
