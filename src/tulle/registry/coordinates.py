"""Where nodes lie in the network, and how far they are from one another (Vivaldi coordinates, as Serf and Consul have them)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DIMENSIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """Seconds all."""

    vec: tuple[float, ...] = (0.0,) * DIMENSIONS
    error: float = 1.5
    adjustment: float = 0.0
    height: float = 1e-05

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Coordinate:
        return cls(vec=tuple(data["Vec"]), error=data["Error"], adjustment=data["Adjustment"], height=data["Height"])

    def document(self) -> dict[str, Any]:
        return {"Vec": list(self.vec), "Error": self.error, "Adjustment": self.adjustment, "Height": self.height}


HERE = Coordinate()


def round_trip(one: Coordinate | None, other: Coordinate | None) -> float:
    """Seconds that a message takes there and back; without end where one of them is not known."""
    if one is None or other is None or len(one.vec) != len(other.vec):
        return math.inf
    plain = math.dist(one.vec, other.vec) + one.height + other.height
    adjusted = plain + one.adjustment + other.adjustment
    return adjusted if adjusted > 0 else plain


def valid(numbers: Sequence[float]) -> bool:
    return all(math.isfinite(number) for number in numbers)
