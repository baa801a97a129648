"""The two ways of writing a log record: for machines and for people, one line each.

Python's own logging with a formatter: uvicorn, JAX and warnings speak it already, so nothing has
to be translated, and a library such as structlog would add a second way of doing the same.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from service.logs.lines import one_line, quoted, trace_of
from service.logs.record import current_record

IN_MESSAGE = frozenset(("method", "path", "status"))
"""Facts that the message of a request's line has already said."""


class _Formatter(logging.Formatter):
    """show_messages: of exceptions while a request is served; they may quote what it asked."""

    def __init__(self, *, show_messages: bool = False) -> None:
        super().__init__()
        self._show_messages = show_messages

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        """All but time, level, logger and message."""
        request = current_record.get()
        facts: dict[str, Any] = {}
        if request is not None and request.request_id:
            facts["request_id"] = request.request_id
        facts.update(getattr(record, "facts", {}))
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            messages = self._show_messages or request is None
            facts["exception"] = trace_of(error, messages=messages)
        if record.stack_info:
            facts["stack"] = record.stack_info
        return facts


class JsonFormatter(_Formatter):
    """One JSON object, in ASCII: no reader can find another line in it."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **self.facts(record),
        }
        return json.dumps(entry, default=str)


class TextFormatter(_Formatter):
    """The same in the order that one reads, facts as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        told = [
            f"{name}={_value(value)}"
            for name, value in self.facts(record).items()
            if name not in IN_MESSAGE
        ]
        head = f"{_time(record)} {record.levelname} {record.name}: {one_line(_message(record))}"
        return " ".join((head, *told))


def _time(record: logging.LogRecord) -> str:
    """RFC 3339, in UTC."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit: somebody else's mistake
        return str(record.msg)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        plain = ",".join(value)
        return plain if quoted(plain) == plain else json.dumps(value)
    return json.dumps(value, default=str)
