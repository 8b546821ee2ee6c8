"""Envoy's external processor (envoy.service.ext_proc.v3): one stream for each request, which is judged once all of it is there."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import grpc

from tulle.logs import Log
from tulle.model.firewall import METADATA, POLICY, Firewall
from tulle.protos import pb
from tulle.server.firewall.directives import GRPC
from tulle.server.firewall.engine import Engine, Exchange
from tulle.server.firewall.findings import Tally
from tulle.server.firewall.wire import SERVICE
from tulle.server.firewall.words import CLEAN, HttpAnswer, HttpRequest, NoFirewallError, Verdict

MOST = 256
"""Requests that are looked at, or wait for it, at the same time; further ones count as those that nobody can look at."""
SMALL = 4096
"""Bytes of a body that takes a millisecond or two."""
PATIENCE = 1.0
"""Seconds to wait for a Firewall that a proxy knows before this process does."""

T = TypeVar("T")
_log = Log("firewall")
_TEXTS = ("text/plain", "text/html", "text/xml", "application/json", "application/xml")
_CONTINUE = {"response": {"status": "CONTINUE"}}
_KINDS = ("request_headers", "request_body", "response_headers", "response_body")
_WITH_BODY = {
    "request_headers": {"request_header_mode": "SEND", "request_body_mode": "BUFFERED", "response_header_mode": "SEND"},
    "response_headers": {"response_header_mode": "SEND", "response_body_mode": "BUFFERED"},
}
_WITHOUT_ANSWER = {"request_header_mode": "SEND", "request_body_mode": "BUFFERED", "response_header_mode": "SKIP"}


def passed(kind: str, *, mode: Mapping[str, str] | None = None, told: Mapping[str, Any] | None = None) -> bytes:
    """It goes on. `mode`: what is to be sent from now on."""
    more: dict[str, Any] = {"mode_override": mode} if mode else {}
    if told:
        more["dynamic_metadata"] = told
    return bytes(pb.ProcessingResponse(**{kind: _CONTINUE}, **more).SerializeToString())


_ON = {kind: passed(kind) for kind in _KINDS}
_BODY = {kind: passed(kind, mode=mode) for kind, mode in _WITH_BODY.items()}
_BODY_ALONE = passed("request_headers", mode=_WITHOUT_ANSWER)


@dataclass(slots=True)
class _Visit:
    """One request on its way."""

    firewalls: tuple[Firewall, ...]
    open: ExitStack
    """Closes what looks at answers, too."""
    request: HttpRequest
    answer: HttpAnswer | None = None
    looking: list[Exchange] = field(default_factory=list)


class FirewallService:
    """`tally`: what it did and found."""

    def __init__(self, engine: Engine | None = None, firewalls: Iterable[Firewall] = ()) -> None:
        self.tally = Tally()
        self._engine = engine or Engine()
        self._known: dict[str, Firewall] = {}
        self._news = asyncio.Event()
        self._told: set[str] = set()
        self._begun: dict[object, float] = {}
        self._waiting = 0
        self._visits = 0
        """Requests on their way, looked at or not."""
        self._alone = len(os.sched_getaffinity(0)) == 1
        self._threads = ThreadPoolExecutor(max(4, 2 * (os.cpu_count() or 1)), "firewall")
        self.know(firewalls)

    def know(self, firewalls: Iterable[Firewall]) -> None:
        """Takes those that are in force, beside those that it knows: proxies may not have heard yet."""
        for firewall in firewalls:
            self._known.pop(firewall.id, None)
            self._known[firewall.id] = firewall
        for old in list(self._known)[:-1024]:
            del self._known[old]
        self._news.set()

    async def broken(self, firewall: Firewall) -> str:
        """Why a Firewall cannot be in force; empty where it can. Makes it ready for requests."""
        try:
            await self._in_thread(lambda: self._engine.load(firewall))
        except NoFirewallError as error:
            return str(error)
        return ""

    def handler(self) -> grpc.GenericRpcHandler:
        method = grpc.stream_stream_rpc_method_handler(self._process, request_deserializer=pb.ProcessingRequest.FromString)
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})

    async def _process(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[bytes]:
        asked = dict(context.invocation_metadata() or ())[POLICY]
        firewalls = await self._named(asked.split(","))
        with self._visiting(), ExitStack() as stack:
            visit = _Visit(firewalls, stack, HttpRequest(method="GET", uri=b"/", headers=()))
            async for message in messages:
                kind = message.WhichOneof("request")
                if kind in _KINDS:
                    yield await self._step(kind, message, visit)

    @contextmanager
    def _visiting(self) -> Iterator[None]:
        self._visits += 1
        try:
            yield
        finally:
            self._visits -= 1

    async def _named(self, ids: Sequence[str]) -> tuple[Firewall, ...]:
        """A Firewall that nobody tells of in time is one that lets through or refuses, as its proxy says. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while not all(one in self._known for one in ids):
                self._news.clear()
                await self._news.wait()
        return tuple(self._known[one] for one in ids)

    async def _step(self, kind: str, message: Any, visit: _Visit) -> bytes:
        part = getattr(message, kind)
        if kind == "request_headers":
            visit.request = request_of(part.headers.headers, end=part.end_of_stream)
            if part.end_of_stream or _unseen(visit) or not _has_body(visit):
                return await self._judge(kind, visit)
            return _BODY[kind] if any(f.answers for f in visit.firewalls) else _BODY_ALONE
        if kind == "request_body":
            visit.request = replace(visit.request, body=part.body)
            return await self._judge(kind, visit)
        if kind == "response_headers":
            visit.answer = answer_of(part.headers.headers)
            return _BODY[kind] if not part.end_of_stream and _readable(visit.answer, visit) else _ON[kind]
        if visit.answer:
            visit.answer = replace(visit.answer, body=part.body)
        return await self._judge(kind, visit)

    async def _judge(self, kind: str, visit: _Visit) -> bytes:
        if self._waiting >= MOST:
            return self._without(kind, visit, "too many requests at once")
        if kind != "response_body" and (status := _unseen(visit)):
            return self._refused_unseen(visit, status)
        try:
            # Another thread costs half of what a small request does: it is worth it where others would wait for this one.
            small = len(visit.request.body) <= SMALL and kind != "response_body" and (self._alone or self._visits == 1)
            verdicts = self._looked(kind, visit) if small else await self._in_thread(lambda: self._looked(kind, visit))
        except NoFirewallError as error:
            return self._without(kind, visit, str(error))
        return self._noted(kind, visit, verdicts)

    def _verdicts(self, kind: str, visit: _Visit) -> list[tuple[Firewall, Verdict]]:
        """Works for milliseconds, so it is done in a thread. The first that refuses has the last word."""
        if kind == "response_body" and (answer := visit.answer):
            return [(on.firewall, _of_answer(on, answer)) for on in visit.looking]
        found = []
        for firewall in visit.firewalls:
            if firewall.answers:
                on = visit.open.enter_context(self._engine.exchange(firewall))
                visit.looking.append(on)
                found.append((firewall, on.request(_cut(visit.request, firewall))))
            else:
                found.append((firewall, self._engine.judge(firewall, _cut(visit.request, firewall))))
            if found[-1][1].status:
                break
        return found

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def _looked(self, kind: str, visit: _Visit) -> list[tuple[Firewall, Verdict]]:
        number = object()
        self._begun[number] = time.monotonic()
        try:
            return self._verdicts(kind, visit)
        finally:
            del self._begun[number]

    def longest(self) -> float:
        """Seconds since the oldest look began that has not ended."""
        now = time.monotonic()
        return now - min(tuple(self._begun.values()), default=now)

    def _noted(self, kind: str, visit: _Visit, verdicts: list[tuple[Firewall, Verdict]]) -> bytes:
        told: dict[str, Any] = {}
        for firewall, verdict in verdicts:
            outcome = "refused" if verdict.status else "found" if verdict.rules else "clean"
            if kind != "response_body" or outcome != "clean":
                self.tally.note(firewall.name, outcome, visit.request, verdict)
            if outcome != "clean":
                told = metadata(firewall, outcome, verdict)
        if status := next((verdict.status for _, verdict in verdicts if verdict.status), 0):
            return refusal(status, told)
        return passed(kind, told=told) if told else _ON[kind]

    def _refused_unseen(self, visit: _Visit, status: int) -> bytes:
        firewall = next((f for f in visit.firewalls if f.block), visit.firewalls[0])
        verdict = Verdict(status=status, classes=("protocol",), severity=2)
        self.tally.note(firewall.name, "refused", visit.request, verdict)
        return refusal(status, metadata(firewall, "refused", verdict))

    def _without(self, kind: str, visit: _Visit, why: str) -> bytes:
        """Nobody can look at it."""
        required = any(f.required for f in visit.firewalls)
        for firewall in visit.firewalls:
            self.tally.unchecked(firewall.name)
            if firewall.id not in self._told:
                self._told.add(firewall.id)
                _log.warning("a firewall is not in force", firewall=firewall.name, error=why, traffic="refused" if required else "passed")
        told = metadata(visit.firewalls[0], "unchecked", CLEAN)
        return refusal(503, told) if required else passed(kind, told=told)


def metadata(firewall: Firewall, outcome: str, verdict: Verdict) -> dict[str, Any]:
    """For the access log of the proxy."""
    values: dict[str, Any] = {
        "policy": firewall.name,
        "action": outcome,
        "rules": ",".join(map(str, verdict.rules)),
        "classes": ",".join(verdict.classes),
        "severity": verdict.severity,
        "score": verdict.score,
    }
    return {METADATA: values}


def refusal(status: int, told: dict[str, Any]) -> bytes:
    answer = {"status": {"code": status}, "details": "firewall"}
    return bytes(pb.ProcessingResponse(immediate_response=answer, dynamic_metadata=told).SerializeToString())


def _header(headers: tuple[tuple[bytes, bytes], ...], name: bytes) -> bytes:
    return next((value for known, value in headers if known == name), b"")


def _media_type(headers: tuple[tuple[bytes, bytes], ...]) -> str:
    return _header(headers, b"content-type").partition(b";")[0].strip().lower().decode("latin-1")


def _upgraded(request: HttpRequest) -> bool:
    return bool(_header(request.headers, b"upgrade")) or request.method == "CONNECT"


def _has_body(visit: _Visit) -> bool:
    """Whether one follows that has an end and is looked at: not what is upgraded, nor gRPC where it is let in, nor what is too long."""
    kind = _media_type(visit.request.headers)
    grpc_ = kind.startswith(GRPC) and all(kind in f.content_types for f in visit.firewalls)
    length = _length(visit.request.headers)
    return not (grpc_ or _upgraded(visit.request) or all(length > f.requests.most for f in visit.firewalls))


def _unseen(visit: _Visit) -> int:
    """The status with which a request is refused for what cannot be looked at; 0 for none.

    That is a body that is too long, or one that comes with an upgrade: those behind might read it.
    """
    if _too_long(visit):
        return 413
    hidden = _length(visit.request.headers) or _header(visit.request.headers, b"transfer-encoding")
    return 400 if hidden and _upgraded(visit.request) and any(f.block for f in visit.firewalls) else 0


def _too_long(visit: _Visit) -> bool:
    size = max(len(visit.request.body), _length(visit.request.headers))
    return any(size > f.requests.most and not f.requests.lenient for f in visit.firewalls)


def _of_answer(on: Exchange, answer: HttpAnswer) -> Verdict:
    bound = on.firewall.answers
    if bound is None or len(answer.body) <= bound.most:
        return on.answer(answer)
    return CLEAN if bound.lenient else Verdict(status=502, classes=("protocol",), severity=2)


def _length(headers: tuple[tuple[bytes, bytes], ...]) -> int:
    """Of a body, as it is said; 0 where nothing is."""
    length = _header(headers, b"content-length")
    return int(length) if length.isdigit() else 0


def _cut(request: HttpRequest, firewall: Firewall) -> HttpRequest:
    """Without a body that is too long to be looked at, and without what says that there is one."""
    if max(len(request.body), _length(request.headers)) <= firewall.requests.most:
        return request
    about = (b"content-type", b"content-length", b"transfer-encoding")
    return replace(request, body=b"", headers=tuple(h for h in request.headers if h[0] not in about))


def _readable(answer: HttpAnswer, visit: _Visit) -> bool:
    """Text, and not too long; what does not say its length is looked at where longer ones are refused."""
    if _media_type(answer.headers) not in _TEXTS or _header(answer.headers, b"content-encoding") not in (b"", b"identity"):
        return False
    bounds = [on.firewall.answers for on in visit.looking if on.firewall.answers]
    if not (length := _length(answer.headers)):
        return any(not bound.lenient for bound in bounds)
    return any(length <= bound.most or not bound.lenient for bound in bounds)


def request_of(headers: Sequence[Any], *, end: bool) -> HttpRequest:
    """A request without its body, of Envoy's headers. `end`: it has none."""
    pseudo, kept = _parted(headers)
    client = _header(kept, b"x-forwarded-for").rpartition(b",")[2].strip().decode("ascii", "replace")
    return HttpRequest(
        method=pseudo.get(":method", b"GET").decode("ascii", "replace"),
        uri=pseudo.get(":path", b"/"),
        headers=((b"host", pseudo.get(":authority", b"")), *kept),
        client=client or "127.0.0.1",
        framed=not end and not _header(kept, b"content-length") and not _header(kept, b"transfer-encoding"),
    )


def answer_of(headers: Sequence[Any]) -> HttpAnswer:
    """An answer without its body."""
    pseudo, kept = _parted(headers)
    return HttpAnswer(status=int(pseudo.get(":status", b"200")), headers=kept)


def _parted(headers: Sequence[Any]) -> tuple[dict[str, bytes], tuple[tuple[bytes, bytes], ...]]:
    values = [(h.key, h.raw_value or h.value.encode()) for h in headers]
    pseudo = {name: value for name, value in values if name.startswith(":")}
    return pseudo, tuple((name.encode(), value) for name, value in values if not name.startswith(":"))
