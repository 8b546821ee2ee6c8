"""Which requests a route takes: envoy.config.route.v3.RouteMatch."""

from __future__ import annotations

import re

from tulle.model.routing import ClaimMatch, Compare, Forward, HeaderMatch, QueryMatch, Route, RouteMatch, StringMatch
from tulle.translate import claims
from tulle.translate.values import NO, Fields, regex, string_matcher


def route_match(route: Route) -> Fields:
    match = route.match
    takes_connect = isinstance(route.action, Forward) and route.action.connect
    fields: Fields = {"connect_matcher": {}} if takes_connect else _path(match)
    if match.headers:
        fields["headers"] = [_header(header) for header in match.headers]
    if match.query:
        fields["query_parameters"] = [_query(query) for query in match.query]
    if match.claims:
        fields["dynamic_metadata"] = [_claim(claim) for claim in match.claims]
    return fields


def _path(match: RouteMatch) -> Fields:
    path = match.path
    if path is None:
        return {"prefix": "/"}
    if path.compare is Compare.REGEX:
        return {"safe_regex": regex(path.value)}
    if path.compare is Compare.SUFFIX:
        flags = "(?i)" if path.ignore_case else ""
        return {"safe_regex": regex(f"{flags}.*{re.escape(path.value)}")}
    fields = _plain_path(path)
    return fields | {"case_sensitive": NO} if path.ignore_case else fields


def _plain_path(path: StringMatch) -> Fields:
    if path.compare is Compare.EXACT:
        return {"path": path.value}
    if path.compare is Compare.PATH_PREFIX and (segments := path.value.rstrip("/")):
        return {"path_separated_prefix": segments}
    return {"prefix": path.value}


def _header(header: HeaderMatch) -> Fields:
    fields: Fields = {"name": header.name}
    if header.match is None:
        fields["present_match"] = True
    else:
        fields["string_match"] = string_matcher(header.match)
    if header.invert:
        fields["invert_match"] = True
        if header.match is not None:
            # Else Envoy lets no match on a missing header succeed, not even an inverted one.
            fields["treat_missing_header_as_empty"] = True
    return fields


def _query(query: QueryMatch) -> Fields:
    if query.match is None:
        return {"name": query.name, "present_match": True}
    return {"name": query.name, "string_match": string_matcher(query.match)}


def _claim(claim: ClaimMatch) -> Fields:
    return claims.matcher(claim.path, claim.match) | ({"invert": True} if claim.invert else {})
