"""Telemetry: which metrics, traces and access logs proxies produce."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated

from tulle.model.frozen import FrozenMap
from tulle.resources.attachment import Attached
from tulle.resources.scalars import AnyDuration, Flag, FloatPercent, Map, Text, choice
from tulle.resources.spec import Problem, Spec


class Mode(Enum):
    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"
    CLIENT = "CLIENT"
    SERVER = "SERVER"


class Metric(Enum):
    ALL_METRICS = "ALL_METRICS"
    REQUEST_COUNT = "REQUEST_COUNT"
    REQUEST_DURATION = "REQUEST_DURATION"
    REQUEST_SIZE = "REQUEST_SIZE"
    RESPONSE_SIZE = "RESPONSE_SIZE"
    TCP_OPENED_CONNECTIONS = "TCP_OPENED_CONNECTIONS"
    TCP_CLOSED_CONNECTIONS = "TCP_CLOSED_CONNECTIONS"
    TCP_SENT_BYTES = "TCP_SENT_BYTES"
    TCP_RECEIVED_BYTES = "TCP_RECEIVED_BYTES"
    GRPC_REQUEST_MESSAGES = "GRPC_REQUEST_MESSAGES"
    GRPC_RESPONSE_MESSAGES = "GRPC_RESPONSE_MESSAGES"


class TagOperation(Enum):
    UPSERT = "UPSERT"
    REMOVE = "REMOVE"


class Provider(Spec):
    name: Text


class ModeMatch(Spec):
    mode: Annotated[Mode, choice(Mode)] = Mode.CLIENT_AND_SERVER


class LogFilter(Spec):
    expression: Text = ""


class AccessLogging(Spec):
    match: ModeMatch = ModeMatch.unsaid()
    providers: tuple[Provider, ...] = ()
    disabled: Flag | None = None
    filter: LogFilter | None = None


class MetricMatch(ModeMatch):
    at_most_one_of = (("metric", "custom_metric"),)

    metric: Annotated[Metric, choice(Metric)] | None = None
    custom_metric: Text | None = None


class TagOverride(Spec):
    operation: Annotated[TagOperation, choice(TagOperation)] = TagOperation.UPSERT
    value: Text | None = None

    def check(self) -> Iterable[Problem]:
        if self.operation is TagOperation.UPSERT and not self.value:
            yield ("value",), "required where the operation is UPSERT"
        elif self.operation is TagOperation.REMOVE and self.value:
            yield ("value",), "must not be set where the operation is REMOVE"


class MetricsOverride(Spec):
    match: MetricMatch = MetricMatch.unsaid()
    disabled: Flag | None = None
    tag_overrides: Map[TagOverride] = FrozenMap()


class Metrics(Spec):
    providers: tuple[Provider, ...] = ()
    overrides: tuple[MetricsOverride, ...] = ()
    reporting_interval: AnyDuration | None = None


class FormattedTag(Spec):
    value: Text


class NamedTag(Spec):
    name: Text
    default_value: Text = ""


class CustomTag(Spec):
    one_of = (("literal", "environment", "header", "formatter"),)

    literal: FormattedTag | None = None
    environment: NamedTag | None = None
    header: NamedTag | None = None
    formatter: FormattedTag | None = None


class Tracing(Spec):
    match: ModeMatch = ModeMatch.unsaid()
    providers: tuple[Provider, ...] = ()
    random_sampling_percentage: FloatPercent | None = None
    disable_span_reporting: Flag | None = None
    disable_context_propagation: Flag | None = None
    custom_tags: Map[CustomTag] = FrozenMap()
    enable_istio_tags: Flag | None = None
    use_request_id_for_trace_sampling: Flag | None = None

    def check(self) -> Iterable[Problem]:
        if len(self.providers) > 1:
            yield ("providers",), "must have at most one item"


class Telemetry(Attached):
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
