"""What a service-router asks of a request, as routes ask it."""

from __future__ import annotations

import re

from tulle.model.routing import Compare, HeaderMatch, QueryMatch, RouteMatch, StringMatch
from tulle.resources.consul import common
from tulle.resources.consul import router as spec


def route_match(match: spec.HttpMatch | None) -> RouteMatch:
    if match is None:
        return RouteMatch()
    methods = (_methods(match.methods),) if match.methods else ()
    return RouteMatch(
        path=_path(match),
        headers=(*methods, *(_header(h) for h in match.header)),
        query=tuple(_query(q) for q in match.query_param),
    )


def _path(match: spec.HttpMatch) -> StringMatch | None:
    kinds = ((Compare.EXACT, match.path_exact), (Compare.PREFIX, match.path_prefix), (Compare.REGEX, match.path_regex))
    compare, value = next(((compare, value) for compare, value in kinds if value), (Compare.PREFIX, ""))
    if not value:
        return None
    return StringMatch(compare=compare, value=value, ignore_case=match.case_insensitive and compare is not Compare.REGEX)


def _methods(methods: tuple[str, ...]) -> HeaderMatch:
    names = [method.upper() for method in methods]
    if len(names) == 1:
        return HeaderMatch(name=":method", match=StringMatch(compare=Compare.EXACT, value=names[0]))
    return HeaderMatch(name=":method", match=StringMatch(compare=Compare.REGEX, value="|".join(names)))


def _header(rule: common.HeaderMatch) -> HeaderMatch:
    return HeaderMatch(name=rule.name.lower(), match=_text(rule), invert=rule.invert)


def _text(rule: common.HeaderMatch) -> StringMatch | None:
    """None asks for presence."""
    if rule.contains is not None:
        case = "(?i)" if rule.ignore_case else ""
        return StringMatch(compare=Compare.REGEX, value=f"{case}.*{re.escape(rule.contains)}.*")
    kinds = ((Compare.EXACT, rule.exact), (Compare.PREFIX, rule.prefix), (Compare.SUFFIX, rule.suffix), (Compare.REGEX, rule.regex))
    found = next(((compare, value) for compare, value in kinds if value is not None), None)
    if found is None:
        return None
    compare, value = found
    return StringMatch(compare=compare, value=value, ignore_case=rule.ignore_case and compare is not Compare.REGEX)


def _query(rule: spec.QueryMatch) -> QueryMatch:
    if rule.exact is not None:
        return QueryMatch(name=rule.name, match=StringMatch(compare=Compare.EXACT, value=rule.exact))
    return QueryMatch(name=rule.name, match=StringMatch(compare=Compare.REGEX, value=rule.regex) if rule.regex is not None else None)
