"""The facts about a book."""

from __future__ import annotations

from tulle.demo.apps.http import Request, Response, json_response, not_found
from tulle.demo.apps.serve import arguments, serve_http

BOOK = {
    "author": "William Shakespeare",
    "year": 1595,
    "type": "paperback",
    "pages": 200,
    "publisher": "PublisherA",
    "language": "English",
    "ISBN-10": "1234567890",
    "ISBN-13": "123-1234567890",
}


async def handle(request: Request) -> Response:
    """`/details/ID` and `/health`."""
    if request.path == "/health":
        return json_response({"status": "Details is healthy"})
    room, _, book = request.path.removeprefix("/").partition("/")
    if room != "details":
        return not_found(request)
    if not (book.isascii() and book.isdigit()):
        return json_response({"error": "please provide numeric product id"}, 400)
    return json_response({"id": int(book), **BOOK})


if __name__ == "__main__":
    serve_http(handle, arguments("details", 9080).parse_args())
