"""The messages that patches bring, parsed once."""

from __future__ import annotations

import json
from typing import Any

from tulle.model.patches import Patch
from tulle.protos import from_dict
from tulle.resources.networking.envoy_messages import MESSAGES


class Values:
    def __init__(self) -> None:
        self._known: dict[Patch, Any] = {}

    def __call__(self, patch: Patch) -> Any:
        """None for a patch that brings none."""
        if not patch.value:
            return None
        if patch not in self._known:
            self._known[patch] = from_dict(MESSAGES[patch.apply_to], json.loads(patch.value))
        return self._known[patch]
