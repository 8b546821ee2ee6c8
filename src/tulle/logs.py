"""This program's own log: an event in words and its facts as fields, for people or as JSON for machines, on standard error.

Built on the standard library's logging: a structured logging package would cost a fifth of the start-up time.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from tulle.settings import Settings

_VERBOSITY = "GRPC_VERBOSITY"
_ROOT = "tulle"


class Log:
    """Takes an event, which never varies, and what varies as keyword arguments."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{_ROOT}.{name}")

    def debug(self, event: str, **fields: Any) -> None:
        self._logger.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: Any) -> None:
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:
        self._logger.warning(event, extra={"fields": fields})

    def exception(self, event: str, **fields: Any) -> None:
        """With the traceback of the exception that is being handled."""
        self._logger.exception(event, extra={"fields": fields})  # noqa: LOG004 - the caller handles one


class Text(logging.Formatter):
    """`2026-11-21T03:22:01Z warning control: a document is refused document=... error=...`"""

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname.lower()} {_name(record)}: {_one_line(record.getMessage())}{facts}"
        if not record.exc_info:
            return line
        # Indented, so that no line of it can look like another record.
        return "\n".join((line, *(f"    {_one_line(part)}" for part in self.formatException(record.exc_info).split("\n"))))


class Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        said = {"time": _time(record), "level": record.levelname.lower(), "logger": _name(record), "event": record.getMessage()}
        trace = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        return json.dumps(said | _fields(record) | trace, default=str)


def configure(settings: Settings) -> None:
    """To be called once, by the command that starts a server."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if settings.log_format == "json" else Text())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(settings.log_level.upper())


def load_quiet_grpc() -> None:
    """Loads gRPC so that it writes errors alone: or it has a line of its own for whoever on the network fails to shake hands.

    It reads the variable when it is loaded; what is started later is not to see it.
    """
    said = os.environ.get(_VERBOSITY)
    os.environ.setdefault(_VERBOSITY, "ERROR")
    import grpc  # noqa: F401, PLC0415 - slow to load

    if said is None:
        del os.environ[_VERBOSITY]


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _name(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{_ROOT}.")


def _shown(value: object) -> str:
    """Quoted where it would not be one word, so that nothing in a value can look like another line or another field."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and not set(text) & set(" =\"'") else json.dumps(text)


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
