"""What readers say of a book: v1 without stars, v2 with black and v3 with red ones, which come from ratings."""

from __future__ import annotations

import os

from tulle.demo.apps.client import Client, UnavailableError, passed_on
from tulle.demo.apps.http import Request, Response, json_response, not_found
from tulle.demo.apps.serve import arguments, instance, serve_http

RATINGS_TIMEOUT = 10.0
"""Longer than productpage waits for all of this: the mismatch that fault injection is to bring to light."""

COLORS = {"v1": "", "v2": "black", "v3": "red"}
TEXTS = {
    "Reviewer1": "Mistaken lovers, a forest by night and a man with a donkey's head: nobody has made confusion so merry since.",
    "Reviewer2": "Lighter than his dramas, and all the better for it. Read it aloud.",
}


class Reviews:
    """The service, in one of its versions."""

    def __init__(self, *, name: str, color: str, ratings: str, client: Client) -> None:
        self._name = name
        self._color = color
        self._ratings = ratings
        self._client = client

    async def handle(self, request: Request) -> Response:
        """`/reviews/ID` and `/health`."""
        if request.path == "/health":
            return json_response({"status": "Reviews is healthy"})
        room, _, book = request.path.removeprefix("/").partition("/")
        if room != "reviews" or not (book.isascii() and book.isdigit()):
            return not_found(request)
        reviews = [{"reviewer": who, "text": text} for who, text in TEXTS.items()]
        if not self._color:
            return self._answer(book, reviews)
        stars = await self._stars(request, book)
        rated = [{**review, "rating": self._rating(stars, review["reviewer"])} for review in reviews]
        return self._answer(book, rated)

    def _answer(self, book: str, reviews: object) -> Response:
        return json_response({"id": book, "podname": self._name, "clustername": "null", "reviews": reviews})

    def _rating(self, stars: object, reviewer: str) -> dict[str, object]:
        if not isinstance(stars, dict) or reviewer not in stars:
            return {"error": "Ratings service is currently unavailable"}
        return {"stars": stars[reviewer], "color": self._color}

    async def _stars(self, request: Request, book: str) -> object:
        try:
            answer = await self._client.get(f"{self._ratings}/ratings/{book}", passed_on(request), timeout=RATINGS_TIMEOUT)
        except UnavailableError:
            return None
        document = answer.json() if answer.status == 200 else None
        return document.get("ratings") if isinstance(document, dict) else None


def main() -> None:
    parser = arguments("reviews", 9080)
    parser.add_argument("--ratings", default=os.environ.get("RATINGS_URL", "http://ratings:9080"), help="where ratings is")
    options = parser.parse_args()
    color = COLORS.get(options.version, "")
    serve_http(Reviews(name=instance("reviews", options), color=color, ratings=options.ratings, client=Client()).handle, options)


if __name__ == "__main__":
    main()
