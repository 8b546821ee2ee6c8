"""`/v1/event`: short messages to whoever listens. They are not kept over a restart, as Consul's are not."""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.registry.waiting import Topic
from tulle.server.consul.app import Route
from tulle.server.consul.wire import Ask, Found, Reply

KEPT = 256
PAYLOAD = 64 * 1024
_TOPIC: Topic = ("events",)


class EventApi:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._index = time.time_ns() // 1_000_000
        """Rises with each event, and over restarts."""
        self._time = 0

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="PUT", path="/v1/event/fire/", handler=self.fire),
            Route(method="GET", path="/v1/event/list", handler=self.list),
        ]

    def fire(self, ask: Ask) -> Reply:
        if not ask.rest:
            raise Refused(400, "Missing name")
        if len(ask.body) > PAYLOAD:
            raise Refused(413, f"Payload is larger than {PAYLOAD} bytes")
        self._time += 1
        event = {
            "ID": str(UUID(int=self._registry.dice.getrandbits(128), version=4)),
            "Name": ask.rest,
            "Payload": base64.b64encode(ask.body).decode() if ask.body else None,
            "NodeFilter": ask.get("node"),
            "ServiceFilter": ask.get("service"),
            "TagFilter": ask.get("tag"),
            "Version": 1,
            "LTime": self._time,
        }
        self._events.append(event)
        self._index += 1
        self._registry.waiting.changed([(_TOPIC, self._index)])
        return Reply(value={**event, "LTime": 0})

    def list(self, ask: Ask) -> Found:
        name = ask.get("name")

        def look() -> Reply:
            return Reply(value=[event for event in self._events if name in ("", event["Name"])])

        return Found(topics=(_TOPIC,), look=look, index=lambda: self._index)
