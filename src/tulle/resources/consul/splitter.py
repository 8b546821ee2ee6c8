"""service-splitter: which share of the requests for a service goes where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import PlainValidator

from tulle.resources.consul.common import Entry, HttpHeaderModifiers, Only, ServiceName
from tulle.resources.names import Label
from tulle.resources.scalars import number
from tulle.resources.spec import Problem, Spec

_WHOLE = 10_000
"""Hundredths of a percent, the smallest share."""


def _weight(value: object) -> float:
    weight = number(value)
    if weight and not 0.01 <= weight <= 100:
        raise ValueError(f"must be 0, or between 0.01 and 100, not {weight:g}")
    return weight


class Split(Spec):
    weight: Annotated[float, PlainValidator(_weight)]
    """Percent, to two digits behind the point."""
    service: ServiceName | None = None
    """The splitter's own, where none is named."""
    service_subset: Label | None = None
    namespace: Only | None = None
    partition: Only | None = None
    request_headers: HttpHeaderModifiers | None = None
    response_headers: HttpHeaderModifiers | None = None

    @property
    def parts(self) -> int:
        """Hundredths of a percent."""
        return round(self.weight * 100)


class ServiceSplitter(Entry):
    some_of = ("splits",)

    splits: tuple[Split, ...] = ()

    def check(self) -> Iterable[Problem]:
        total = sum(split.parts for split in self.splits)
        if total != _WHOLE:
            yield ("splits",), f"the weights must add up to 100, not {total / 100:g}"
        seen: set[tuple[str | None, str | None]] = set()
        for index, split in enumerate(self.splits):
            leg = (split.service, split.service_subset)
            if leg in seen:
                yield ("splits", index), "leads to the same as an earlier split"
            seen.add(leg)
