"""What is asked of requests first: a filter for what is refused, one for the length of bodies, and settings of the connection manager."""

from __future__ import annotations

from tulle.model.screen import PathLevel, Screen, Underscores
from tulle.protos import any_, pb
from tulle.translate.values import Fields, number

BUFFER = "envoy.filters.http.buffer"

_MERGING = (PathLevel.MERGE_SLASHES, PathLevel.DECODE_AND_MERGE_SLASHES)
_UNDERSCORES = {Underscores.ALLOW: "ALLOW", Underscores.DROP: "DROP_HEADER", Underscores.REJECT: "REJECT_REQUEST"}


def holding(of: Screen) -> list[Fields]:
    """The filter that holds bodies back until they are known not to be too long."""
    if of.body_bytes is None:
        return []
    return [{"name": BUFFER, "typed_config": any_(pb.Buffer(max_request_bytes=number(of.body_bytes)))}]


def settings(of: Screen) -> Fields:
    """The fields of a connection manager that say what a request may look like."""
    decoded = of.level is PathLevel.DECODE_AND_MERGE_SLASHES
    fields: Fields = {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD" if decoded else "KEEP_UNCHANGED"}
    fields["normalize_path"] = {"value": of.level is not PathLevel.NONE}
    if of.level in _MERGING:
        fields["merge_slashes"] = True
    if of.header_kilobytes is not None:
        fields["max_request_headers_kb"] = number(of.header_kilobytes)
    return fields


def options(of: Screen) -> Fields:
    """Its `common_http_protocol_options`."""
    fields: Fields = {} if of.header_count is None else {"max_headers_count": number(of.header_count)}
    if of.underscores is not Underscores.ALLOW:
        fields["headers_with_underscores_action"] = _UNDERSCORES[of.underscores]
    return fields
