"""What filters of Envoy write into a request's metadata, and how it is matched: envoy.type.matcher.v3.MetadataMatcher."""

from __future__ import annotations

from tulle.model.routing import StringMatch
from tulle.translate.values import Fields, regex, string_matcher

JWT = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
"""Under this key that filter keeps the claims of a token that it found good."""


def noted(filter_: str, path: tuple[str, ...], match: StringMatch | None) -> Fields:
    """A text that fits, or a list with such a text in it."""
    wanted: Fields = {"string_match": string_matcher(match) if match else {"safe_regex": regex(".+")}}
    either = {"or_match": {"value_matchers": [wanted, {"list_match": {"one_of": wanted}}]}}
    return {"filter": filter_, "path": [{"key": key} for key in path], "value": either}


def matcher(path: tuple[str, ...], match: StringMatch | None) -> Fields:
    """A claim of a token."""
    return noted(JWT, (PAYLOAD, *path), match)
