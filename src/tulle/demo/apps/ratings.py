"""The stars that readers gave a book."""

from __future__ import annotations

from tulle.demo.apps.http import Request, Response, json_response, not_found
from tulle.demo.apps.serve import arguments, serve_http

RATINGS = {"Reviewer1": 5, "Reviewer2": 4}


async def handle(request: Request) -> Response:
    """`/ratings/ID` and `/health`."""
    if request.path == "/health":
        return json_response({"status": "Ratings is healthy"})
    room, _, book = request.path.removeprefix("/").partition("/")
    if room != "ratings":
        return not_found(request)
    if not (book.isascii() and book.isdigit()):
        return json_response({"error": "please provide numeric product ID"}, 400)
    return json_response({"id": int(book), "ratings": RATINGS})


if __name__ == "__main__":
    serve_http(handle, arguments("ratings", 9080).parse_args())
