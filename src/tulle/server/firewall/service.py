"""Envoy's external processor (envoy.service.ext_proc.v3): one stream for each request, which is judged once all of it is there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from tulle.logs import Log
from tulle.model.screen import Firewall
from tulle.protos import pb
from tulle.server.firewall.engine import Engine, HttpRequest, NoFirewallError, Verdict
from tulle.translate.firewall import POLICY, policy_of

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_log = Log("firewall")
_ON = {"request_headers": {"response": {"status": "CONTINUE"}}, "request_body": {"response": {"status": "CONTINUE"}}}


class FirewallService:
    """`counts`: requests by Firewall and by what became of them."""

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or Engine()
        self.counts: Counter[tuple[str, str]] = Counter()
        self._told: set[str] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        method = grpc.stream_stream_rpc_method_handler(
            self._process, request_deserializer=pb.ProcessingRequest.FromString, response_serializer=pb.ProcessingResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})

    async def _process(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        said = dict(context.invocation_metadata() or ())
        firewall, whole = policy_of(said[POLICY])
        request: HttpRequest | None = None
        async for message in messages:
            kind = message.WhichOneof("request")
            if kind == "request_headers":
                request = request_of(message.request_headers.headers.headers)
                if message.request_headers.end_of_stream or not whole:
                    yield await self._answer(kind, firewall, request)
                else:
                    yield pb.ProcessingResponse(request_headers=_ON[kind])
            elif kind == "request_body" and request is not None:
                yield await self._answer(kind, firewall, with_body(request, message.request_body.body))

    async def _answer(self, kind: str, firewall: Firewall, request: HttpRequest) -> Any:
        """The engine takes milliseconds, so it works in a thread."""
        try:
            verdict = await asyncio.to_thread(self._engine.judge, firewall, request)
        except NoFirewallError as error:
            return self._without(kind, firewall, str(error))
        self._note(firewall, request, verdict)
        return _refusal(verdict.status) if verdict.status else pb.ProcessingResponse(**{kind: _ON[kind]})

    def _without(self, kind: str, firewall: Firewall, why: str) -> Any:
        self.counts[firewall.name, "unchecked"] += 1
        if firewall.name not in self._told:
            self._told.add(firewall.name)
            _log.warning(
                "a firewall is not in force", firewall=firewall.name, error=why, traffic="refused" if firewall.required else "passed"
            )
        return _refusal(503) if firewall.required else pb.ProcessingResponse(**{kind: _ON[kind]})

    def _note(self, firewall: Firewall, request: HttpRequest, verdict: Verdict) -> None:
        outcome = "refused" if verdict.status else "found" if verdict.rules else "clean"
        self.counts[firewall.name, outcome] += 1
        if verdict.rules or verdict.status:
            path = request.uri.partition(b"?")[0][:200].decode("utf-8", "replace")
            rules = ",".join(map(str, verdict.rules))
            _log.warning(
                "firewall", firewall=firewall.name, outcome=outcome, rules=rules, method=request.method, path=path, client=request.client
            )


def _refusal(status: int) -> Any:
    return pb.ProcessingResponse(immediate_response={"status": {"code": status}, "details": "firewall"})


def request_of(headers: Sequence[Any]) -> HttpRequest:
    """A request without its body, of Envoy's headers."""
    values = [(h.key, h.raw_value or h.value.encode()) for h in headers]
    pseudo = {name: value for name, value in values if name.startswith(":")}
    kept = [(name.encode(), value) for name, value in values if not name.startswith(":")]
    client = next((v for name, v in values if name == "x-forwarded-for"), b"").rpartition(b",")[2].strip().decode("ascii", "replace")
    return HttpRequest(
        method=pseudo.get(":method", b"GET").decode("ascii", "replace"),
        uri=pseudo.get(":path", b"/"),
        headers=((b"host", pseudo.get(":authority", b"")), *kept),
        client=client or "127.0.0.1",
    )


def with_body(request: HttpRequest, body: bytes) -> HttpRequest:
    return HttpRequest(method=request.method, uri=request.uri, headers=request.headers, body=body, client=request.client)
