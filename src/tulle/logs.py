"""How this program's own log looks: for people, or JSON for machines. On standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from tulle.settings import Settings


def configure(settings: Settings) -> None:
    """To be called once, by the command that starts a server."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shape: list[Any] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]
    )
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), *shape],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
