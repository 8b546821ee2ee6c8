"""Questions to the running mesh that cannot be answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tulle.server.fleet import Fleet
from tulle.server.live import LiveMesh


@pytest.mark.parametrize("who", [None, ["sidecar~web"], {"a": 1}, 7])
def test_who_asks_is_told_by_a_text(who: object) -> None:
    running: Any = SimpleNamespace(fleet=Fleet(), built=SimpleNamespace(mesh=None))
    with pytest.raises(ValueError, match='"from"'):
        LiveMesh(running).explain({"from": who, "url": "http://web/"})
