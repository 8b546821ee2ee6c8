"""`tulle revoke`: for the whole mesh, wherever that is written, and for one identity alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.running import Place, running
from tulle.cli.revoke import document


def test_no_two_identities_are_revoked_by_one_name() -> None:
    """Or to revoke the second would let the first in again."""
    assert len({document(*identity, "root")["metadata"]["name"] for identity in (("a-b", "c"), ("a", "b-c"), ("a", "b.c"))}) == 3


def test_it_holds_where_documents_hold_for_all(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control", environment=place.environment | {"TULLE_ROOT_NAMESPACE": "everywhere"}):
            await place.until("/api/v1/version", bool)
            code, said = await place.tulle("revoke", "shop/web")
            assert (code, "authorizationpolicy/revoked-shop.web created (everywhere)" in said) == (0, True), said
            code, said = await place.tulle("revoke", "shop/web", "--undo")
            assert (code, "revoked-shop.web deleted (everywhere)" in said) == (0, True), said
            code, said = await place.tulle("revoke", "shop/web", "--undo")
            assert (code, "shop/web was not shut out" in said) == (1, True), said

    asyncio.run(run())
