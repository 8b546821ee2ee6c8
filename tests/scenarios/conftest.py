"""One mesh for all scenarios."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.town import Town, town


@pytest.fixture(scope="session", name="town")
def _town() -> Iterator[Town]:
    with town() as found:
        yield found
