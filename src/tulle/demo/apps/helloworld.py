"""Says which version and which instance answered."""

from __future__ import annotations

from tulle.demo.apps.http import Handler, Request, Response, not_found
from tulle.demo.apps.serve import arguments, instance, serve_http


def greeter(version: str, name: str) -> Handler:
    """`/hello` and `/health`."""

    async def handle(request: Request) -> Response:
        if request.path == "/hello":
            return Response(body=f"Hello version: {version}, instance: {name}\n".encode())
        return Response(body=b"Helloworld is healthy") if request.path == "/health" else not_found(request)

    return handle


def main() -> None:
    options = arguments("helloworld", 5000).parse_args()
    serve_http(greeter(options.version, instance("helloworld", options)), options)


if __name__ == "__main__":
    main()
