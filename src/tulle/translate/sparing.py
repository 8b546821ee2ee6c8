"""A filter that leaves some requests alone: for other hosts, or for paths that are free."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.model.routing import Compare, StringMatch
from tulle.protos import any_, pb
from tulle.translate.values import Fields


def sparing(filter_: Fields, name: str, skipped: Iterable[Fields]) -> Fields:
    """The filter, under a name of its own, but for requests of which any of some predicates holds."""
    skip = {"action": {"name": "skip", "typed_config": any_(pb.SkipFilter())}}
    matcher = {"matcher_list": {"matchers": [{"predicate": predicate, "on_match": skip} for predicate in skipped]}}
    return {"name": name, "typed_config": any_(pb.ExtensionWithMatcher(extension_config=filter_, xds_matcher=matcher))}


def others(hosts: tuple[StringMatch, ...]) -> Fields:
    """Requests for other hosts."""
    return {"not_matcher": any_of(":authority", hosts)}


def any_of(header: str, matches: tuple[StringMatch, ...]) -> Fields:
    subject = {"name": header, "typed_config": any_(pb.HttpRequestHeaderMatchInput(header_name=header))}
    each: list[Fields] = [{"single_predicate": {"input": subject, "value_match": _value(match)}} for match in matches]
    return each[0] if len(each) == 1 else {"or_matcher": {"predicate": each}}


def _value(of: StringMatch) -> Fields:
    """An xds.type.matcher.v3.StringMatcher."""
    if of.compare is Compare.REGEX:
        return {"safe_regex": {"google_re2": {}, "regex": of.value}}
    return {of.compare.value: of.value, "ignore_case": of.ignore_case}
