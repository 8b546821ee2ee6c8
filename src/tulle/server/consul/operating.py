"""What operators ask of an agent: its metrics, its machine, its tokens, and whom it knows."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tulle.registry import transitions
from tulle.registry.acl.authorities import SLOTS, Authorities
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.place import Place
from tulle.server.consul.wire import DONE, Ask, Reply

_OLD_SLOTS = {"acl_token": "default", "acl_agent_token": "agent", "acl_agent_master_token": "agent", "acl_replication_token": "replication"}
_LEVELS = ("trace", "debug", "info", "warn", "err", "error")


class OperatingApi:
    def __init__(self, registry: Registry, place: Place, authorities: Authorities | None) -> None:
        self._registry = registry
        self._place = place
        self._authorities = authorities

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="GET", path="/v1/agent/metrics", handler=self.metrics),
            Route(method="GET", path="/v1/agent/host", handler=self.host),
            Route(method="GET", path="/v1/agent/monitor", handler=self.monitor),
            Route(method="PUT", path="/v1/agent/token/", handler=self.token),
            Route(method="PUT", path="/v1/agent/join/", handler=self.join),
            Route(method="PUT", path="/v1/agent/leave", handler=self.leave),
            Route(method="PUT", path="/v1/agent/force-leave/", handler=self.force_leave),
            Route(method="GET", path="/v1/operator/raft/configuration", handler=self.raft),
        ]

    def metrics(self, ask: Ask) -> Reply:
        if ask.get("format") == "prometheus":
            return Reply(body=generate_latest(REGISTRY), media=CONTENT_TYPE_LATEST)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
        gauges: list[dict[str, Any]] = []
        counters: list[dict[str, Any]] = []
        for family in REGISTRY.collect():
            for sample in family.samples:
                if family.type == "gauge":
                    gauges.append({"Name": sample.name, "Value": sample.value, "Labels": sample.labels})
                elif family.type == "counter" and not sample.name.endswith("_created"):
                    counters.append(_counter(sample.name, sample.value, sample.labels))
        return Reply(value={"Timestamp": now, "Gauges": gauges, "Points": [], "Counters": counters, "Samples": []})

    def host(self, _: Ask) -> Reply:
        memory = _memory()
        machine = {
            "hostname": socket.gethostname(),
            "uptime": int(time.monotonic()),
            "bootTime": int(time.time() - time.monotonic()),
            "os": platform.system().lower(),
            "platform": platform.system().lower(),
            "kernelVersion": platform.release(),
            "kernelArch": platform.machine(),
        }
        disk = os.statvfs("/")
        size, free = disk.f_frsize * disk.f_blocks, disk.f_frsize * disk.f_bavail
        answer = {
            "Memory": memory,
            "CPU": [{"cpu": number, "cores": 1} for number in range(os.cpu_count() or 1)],
            "Host": machine,
            "Disk": {"path": "/", "total": size, "free": free, "used": size - free},
            "CollectionTime": time.time_ns(),
            "Errors": None,
        }
        return Reply(value=answer)

    def monitor(self, ask: Ask) -> Reply:
        level = ask.get("loglevel") or "info"
        if level.lower() not in _LEVELS:
            raise Refused(400, f"Unknown log level: {level[:32]}")
        raise Refused(400, "this agent writes its log where it was started; it is not sent over the API")

    def token(self, ask: Ask) -> Reply:
        """A token that the agent is to use by itself; it is forgotten when the agent ends, as Consul does unless told otherwise."""
        if self._authorities is None:
            raise Refused(401, "ACL support disabled")
        slot = _OLD_SLOTS.get(ask.rest, ask.rest)
        if slot not in (*SLOTS, "agent_recovery"):
            raise Refused(404, f'Token "{ask.rest[:64]}" is unknown')
        secret = ask.json().text("Token")
        self._authorities.slots[slot] = secret
        return DONE

    # === members

    def join(self, ask: Ask) -> Reply:
        """Agents meet in the store, not by gossip: this one has joined itself, and nobody else can be joined so."""
        if ask.rest.partition(":")[0] not in (self._registry.node.address, self._registry.node.name, "localhost"):
            raise Refused(500, f"1 error occurred: Failed to join {ask.rest[:128]}: other datacenters are named in TULLE_JOIN_WAN")
        return DONE

    def leave(self, _: Ask) -> Reply:
        raise Refused(400, "this agent ends when its process is ended, and leaves in order then")

    async def force_leave(self, ask: Ask) -> Reply:
        name = ask.rest.partition(".")[0] if ask.has("wan") else ask.rest
        if name not in self._registry.tables.nodes or name == self._registry.node.name:
            raise Refused(500, f"agent: No node found with name '{ask.rest[:128]}'")
        await self._registry.change(lambda tables: transitions.leave_node(tables, name))
        return DONE

    def raft(self, _: Ask) -> Reply:
        node = self._registry.node
        server = {
            "ID": node.id,
            "Node": node.name,
            "Address": self._place.leader,
            "Leader": True,
            "ProtocolVersion": "3",
            "Voter": True,
            "LastIndex": self._registry.tables.revision,
        }
        return Reply(value={"Servers": [server], "Index": 0})


def _counter(name: str, value: float, labels: dict[str, str]) -> dict[str, Any]:
    """Of one interval, which is the whole life of the agent."""
    sums = {"Sum": value, "Min": 0, "Max": value, "Mean": value, "Stddev": 0}
    return {"Name": name, "Count": int(value), "Rate": 0.0, **sums, "Labels": labels}


def _memory() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    known = {line.partition(":")[0]: int(line.partition(":")[2].split()[0]) * 1024 for line in lines if line.partition(":")[2].split()}
    total, available = known.get("MemTotal", 0), known.get("MemAvailable", 0)
    return {"total": total, "available": available, "used": total - available, "free": known.get("MemFree", 0)}
