"""Firewall: the OWASP Core Rule Set for requests."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from tulle.resources.attachment import Attached
from tulle.resources.scalars import Flag, choice, whole


class Mode(Enum):
    DETECT = "DETECT"
    """What is found is logged, and goes on."""
    BLOCK = "BLOCK"


class Firewall(Attached):
    mode: Annotated[Mode, choice(Mode)] = Mode.BLOCK
    paranoia_level: Annotated[int, whole(1, 4)] = 1
    """Of the Core Rule Set: higher ones find more, and more that is none."""
    excluded_rules: tuple[Annotated[int, whole(1, 999_999)], ...] = ()
    max_body_bytes: Annotated[int, whole(1, 2**27)] = 2**20
    """Longer bodies are answered 413, as they could not be looked at."""
    required: Flag = False
    """Requests that cannot be looked at are refused with 503; else they go on unchecked."""
