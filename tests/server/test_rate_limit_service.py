"""The rate limit service: what it answers, and what of its counts survives a restart."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from tulle.model.rate_limits import Counted, CountKey, RateLimit
from tulle.protos import pb
from tulle.server.rate_limits import PREFIX, RateLimitService
from tulle.store.sqlite import open_sqlite

SECOND = 10**9
OK, OVER = 1, 2
QUOTA = RateLimit(
    name="default/quota/0", requests=2, per=timedelta(days=1), burst=2, by=(CountKey(counted=Counted.HEADER, name=("x-key",)),), shared=True
)
LIMITS = {QUOTA.name: QUOTA}


def asking(*descriptors: dict[str, str], hits: int = 0) -> Any:
    made = [{"entries": [{"key": key, "value": value} for key, value in entries.items()]} for entries in descriptors]
    return pb.RateLimitRequest(domain="tulle", descriptors=made, hits_addend=hits)


def of(key: str, name: str = QUOTA.name) -> dict[str, str]:
    return {"limit": name, "header_match": "0", "request.headers[x-key]": key}


def test_each_descriptor_has_its_status() -> None:
    service = RateLimitService(lambda: LIMITS, lambda: SECOND)
    answer = service.decide(asking(of("a"), of("b", "default/gone/0"), {"other": "x"}, {}))
    assert answer.overall_code == OK
    assert [status.code for status in answer.statuses] == [OK] * 4
    told = answer.statuses[0]
    assert (told.current_limit.requests_per_unit, told.limit_remaining, told.duration_until_reset.seconds) == (2, 1, 43_200)
    assert pb.RateLimitResponse.RateLimit.Unit.Name(told.current_limit.unit) == "DAY"
    answer = service.decide(asking(of("a"), of("b"), hits=2))
    assert (answer.overall_code, [status.code for status in answer.statuses]) == (OVER, [OVER, OK])
    assert service.decide(asking(of("b"), hits=2)).overall_code == OK, "a refused request counts against nothing"
    assert service.decide(asking(of("b"))).statuses[0].duration_until_reset.seconds == 43_200


def test_quotas_survive_a_restart(tmp_path: Path) -> None:
    async def life(now: int) -> list[int]:
        async with open_sqlite(str(tmp_path / "store.db"), monotonic) as store:
            service = RateLimitService(lambda: LIMITS, lambda: now)
            await service.load(store)
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(service.keep(store))
                await asyncio.sleep(0)
                found = [service.decide(asking(of("ann"))).overall_code]
                keeping.cancel()
            assert "ann" not in str(await store.range(PREFIX))
            return found

    codes = [asyncio.run(life(now * SECOND))[0] for now in (1, 2, 3, 43_202)]
    assert codes == [OK, OK, OVER, OK]
