"""What names take that this catalog alone cannot tell: other datacenters, and prepared queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from tulle.dns.question import AskNode, AskQuery, AskService
from tulle.dns.zone import Gathered, Instance, Machine
from tulle.model.frozen import FrozenMap
from tulle.model.service import Health
from tulle.registry import durations
from tulle.registry.catalog import worst
from tulle.registry.transitions import Refused
from tulle.server.consul.asking import Asking
from tulle.server.consul.wan import Wan


class Gathering:
    def __init__(self, asking: Asking, wan: Wan) -> None:
        self._asking = asking
        self._wan = wan

    async def gather(self, asked: AskService | AskNode | AskQuery) -> Gathered:
        """Raises OSError when another datacenter does not answer."""
        match asked:
            case AskQuery():
                return await self._query(asked)
            case AskNode():
                found = await self._get(asked.datacenter, f"catalog/node/{_in_path(asked.name)}")
                machine = _machine(found["Node"]) if found else None
                return Gathered(asked=asked, datacenter=asked.datacenter, machine=machine)
            case AskService():
                kind = "connect" if asked.connect else "ingress" if asked.ingress else "service"
                entries = await self._get(asked.datacenter, f"health/{kind}/{_in_path(asked.name)}")
                return Gathered(asked=asked, datacenter=asked.datacenter, instances=tuple(_instances(entries or ())))

    async def _query(self, asked: AskQuery) -> Gathered:
        if asked.datacenter:
            answer = await self._get(asked.datacenter, f"query/{_in_path(asked.name)}/execute")
        else:
            answer = await self._here(asked.name)
        if not answer:
            return Gathered(asked=asked, datacenter=asked.datacenter or self._wan.own)
        ttl = answer["DNS"]["TTL"]
        return Gathered(
            asked=asked,
            datacenter=answer["Datacenter"],
            instances=tuple(_instances(answer["Nodes"] or ())),
            ttl=int(durations.parse(ttl)) if ttl else None,
        )

    async def _here(self, name: str) -> Mapping[str, Any] | None:
        try:
            return await self._asking.execute(name)
        except Refused:
            return None

    async def _get(self, datacenter: str, path: str) -> Any:
        return await self._wan.get(datacenter, f"/v1/{path}?dc={datacenter}")


def _in_path(name: str) -> str:
    return quote(name, safe="")


def _instances(entries: Iterable[Mapping[str, Any]]) -> Iterable[Instance]:
    for entry in entries:
        service, weights = entry["Service"], entry["Service"].get("Weights") or {}
        yield Instance(
            id=service["ID"],
            service=service["Service"],
            machine=_machine(entry["Node"]),
            address=service["Address"],
            port=service["Port"],
            tags=tuple(service["Tags"] or ()),
            status=worst([Health(check["Status"]) for check in entry["Checks"]]),
            weight=weights.get("Passing", 1),
            warning_weight=weights.get("Warning", 1),
        )


def _machine(node: Mapping[str, Any]) -> Machine:
    return Machine(name=node["Node"], address=node["Address"], meta=FrozenMap(node.get("Meta") or {}))
