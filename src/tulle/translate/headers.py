"""Operations on headers. Envoy removes first, then sets and adds in the order given."""

from __future__ import annotations

import re

from tulle.model.routing import HeaderOps
from tulle.translate.values import Fields

_COMMAND = re.compile(r"%%|%[A-Z][A-Z0-9_]*(?:\([^)]*\))?(?::\d+)?%|%")


def header_ops(request: HeaderOps, response: HeaderOps) -> Fields:
    """The four fields that routes and weighted clusters have for it."""
    fields: Fields = {}
    for side, ops in (("request", request), ("response", response)):
        if ops.remove:
            fields[f"{side}_headers_to_remove"] = list(ops.remove)
        if ops.set or ops.add:
            made = [_option(name, value, "OVERWRITE_IF_EXISTS_OR_ADD") for name, value in ops.set]
            fields[f"{side}_headers_to_add"] = made + [_option(name, value, "APPEND_IF_EXISTS_OR_ADD") for name, value in ops.add]
    return fields


def _option(name: str, value: str, how: str) -> Fields:
    option: Fields = {"header": {"key": name, "value": literal_percents(value)}, "append_action": how}
    return option if value else option | {"keep_empty_value": True}


def literal_percents(value: str) -> str:
    """Envoy takes `%NAME(...)%` for a command and refuses a lone `%`: what is no command is doubled, which makes it plain text."""
    return _COMMAND.sub(lambda found: "%%" if found.group() == "%" else found.group(), value)
