"""A running control plane says beforehand what a change would break, in the documents of the change and in all others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.running import Place, running

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - route: [{destination: {host: shop, subset: v1}}]
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  ports: [{name: http, port: 80}]
"""
BROKEN = (
    "warning: route.yaml:8: VirtualService/shop: spec.http[0].route[0].destination: host shop.default.svc.cluster.local has no "
    'subset "v1" in a DestinationRule: its requests are answered with 503'
)
UNKNOWN = (
    "warning: route.yaml:8: VirtualService/shop: spec.http[0].route[0].destination: host shop.default.svc.cluster.local is not known "
    "in namespace default: its requests are answered with 503"
)


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    for name, text in (
        ("route.yaml", ROUTE),
        ("rule.yaml", RULE),
        ("service.yaml", SERVICE),
        ("new.yaml", RULE.replace("name: v1", "name: v2")),
    ):
        place.write(name, text)
    async with running(place, "control"):
        await place.until("/api/v1/resources", lambda a: a == {"items": []})
        code, output = await place.tulle("apply", "-f", "route.yaml", "--dry-run")
        assert (code, output.splitlines()[1:]) == (0, [UNKNOWN])
        assert (await place.tulle("apply", "-f", "route.yaml", "-f", "rule.yaml", "-f", "service.yaml"))[0] == 0
        await place.until("/api/v1/services", lambda a: a["services"])
        fine = await place.tulle("apply", "-f", "rule.yaml", "--dry-run")
        assert fine == (0, "destinationrule/shop unchanged (default) (dry run)\n")
        code, output = await place.tulle("apply", "-f", "new.yaml", "--dry-run")
        assert (code, output.splitlines()) == (0, ["destinationrule/shop configured (default) (dry run)", BROKEN])
        code, output = await place.tulle("diff", "-f", "new.yaml")
        assert (code, BROKEN in output.splitlines()) == (1, True)
        code, output = await place.tulle("delete", "destinationrule", "shop", "--dry-run")
        assert (code, output.splitlines()) == (0, ["destinationrule/shop deleted (default) (dry run)", BROKEN])
        found = await place.get("/api/v1/resources/VirtualService/default/shop")
        assert found["status"]["warnings"] == []  # nothing of it came into force


def test_what_a_change_would_break_is_told_before(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
