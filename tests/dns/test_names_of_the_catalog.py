"""What Consul's clients register, as names show it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dns.asyncquery

from support.agent_calls import call
from support.running import Place, running
from support.zones import query, texts


def test_services_have_names_with_their_tags(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)

        async def ask(name: str, type_: str) -> list[str]:
            return texts((await dns.asyncquery.udp(query(name, type_), "127.0.0.1", port=place.dns, timeout=60)).answer)

        async def put(path: str, body: object = None) -> None:
            assert (await call(place, "PUT", path, body))[0] == 200

        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            weights = {"Passing": 7, "Warning": 1}
            db = {"Name": "db", "ID": "db-1", "Port": 5432, "Address": "10.3.3.3", "Tags": ["Primary"], "Weights": weights}
            await put("/v1/agent/service/register", db)
            assert await ask("primary.db.service.consul", "SRV") == ["SRV 1 7 5432 0a030303.addr.dc1.consul."]
            assert await ask("_db._primary.service.consul", "A") == ["A 10.3.3.3"]
            await put("/v1/agent/service/register", db | {"Tags": ["replica"]})
            assert await ask("primary.db.service.consul", "SRV") == []
            assert await ask("replica.db.service.consul", "A") == ["A 10.3.3.3"]
            await put("/v1/agent/service/maintenance/db-1?enable=true")
            assert await ask("db.service.consul", "A") == []
            await put("/v1/agent/service/maintenance/db-1?enable=false")
            assert await ask("db.service.consul", "A") == ["A 10.3.3.3"]
            bank = {"Service": "bank", "Port": 443}
            await put("/v1/catalog/register", {"Node": "Far", "Address": "10.4.4.4", "NodeMeta": {"rack": "9"}, "Service": bank})
            assert await ask("bank.service.consul", "A") == ["A 10.4.4.4"]
            assert await ask("bank.service.consul", "SRV") == ["SRV 1 1 443 Far.node.dc1.consul."]
            assert await ask("far.node.consul", "TXT") == ['TXT "rack=9"']
            assert await ask("4.4.4.10.in-addr.arpa", "PTR") == ["PTR Far.node.dc1.consul."]
            assert await ask("3.3.3.10.in-addr.arpa", "PTR") == ["PTR db.service.dc1.consul."]
            await put("/v1/catalog/deregister", {"Node": "Far"})
            assert await ask("bank.service.consul", "A") == []

    asyncio.run(main())
