"""Callers in plain text: an access log that writes nothing, but counts (envoy.extensions.access_loggers.stats.v3.Config).

The count is made in the proxy, so it costs no message to anybody, and goes on when no control plane is there.
"""

from __future__ import annotations

from tulle.model.plain_text import CALLER, CALLS, MOST, PORT, PREFIX, REFUSED
from tulle.protos import any_, pb
from tulle.translate.values import Fields, number

NAME = "envoy.access_loggers.stats"
_ADDRESS = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
"""Of the connection, whatever a request says of who it is from."""
_SCOPE: Fields = {"prefix": PREFIX, "max_counters": number(MOST), "enable_eviction": True}
"""One for each chain of filters: those that are shared (`sharing_name`) make Envoy 1.40 crash when it ends after `--mode validate`."""


def requests(port: int) -> list[Fields]:
    """Counts each request when it ends; nothing for 0."""
    return [_log(CALLS, port)] if port else []


def connections(port: int) -> Fields:
    """Counts each connection when it has reached the workload: it may go on for days."""
    if not port:
        return {}
    reached = {"log_type_filter": {"types": ["TcpUpstreamConnected"]}}
    return {"access_log": [_log(CALLS, port) | {"filter": reached}], "access_log_options": {"flush_access_log_on_connected": True}}


def refusals(port: int) -> Fields:
    """Counts each connection that no chain takes."""
    return {"access_log": [_log(REFUSED, port) | {"filter": {"response_flag_filter": {"flags": ["NR"]}}}]} if port else {}


def _log(name: str, port: int) -> Fields:
    tags = [{"name": PORT, "value_format": str(port)}, {"name": CALLER, "value_format": _ADDRESS}]
    counter: Fields = {"stat": {"name": name, "tags": tags}, "value_fixed": number(1)}
    return {"name": NAME, "typed_config": any_(pb.StatsAccessLog(stats_scope=_SCOPE, counters=[counter]))}
