"""What uvicorn writes about requests: no probes, no credentials."""

import logging
import re

PROBES = frozenset(("/healthz", "/readyz", "/health", "/ping", "/metrics"))

_KEY = re.compile(r"(?<=[?&]key=)[^&]*")
"""Gemini's clients may send theirs in the address."""


class AccessFilter(logging.Filter):
    """For uvicorn's access logger, whose arguments are (client, method, path, version, status)."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        client, method, path, version, status = record.args
        if str(path).partition("?")[0] in PROBES:
            return False
        record.args = (client, method, _KEY.sub("...", str(path)), version, status)
        return True


class KeyFilter(logging.Filter):
    """For uvicorn's other logger, which names the addresses of WebSockets."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _KEY.sub("...", value) if isinstance(value, str) else value for value in record.args
            )
        return True


_ACCESS, _KEYS = AccessFilter(), KeyFilter()


def install() -> None:
    """After uvicorn has set its loggers up. Any number of times."""
    logging.getLogger("uvicorn.access").addFilter(_ACCESS)
    logging.getLogger("uvicorn.error").addFilter(_KEYS)
