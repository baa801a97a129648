"""What a test's server writes to its log, as it would stand on standard error."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.logs.setup import OURS, StandardError, configure
from tests.service.support import eventually, settings_of


class Written:
    """Lines so far."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self) -> list[str]:
        # As any reader of any language may split them.
        return self.text().splitlines()

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def requests(self) -> list[dict[str, Any]]:
        return [entry for entry in self.entries() if entry["logger"] == "pollux.access"]

    async def one(self) -> dict[str, Any]:
        """The only request's line, as soon as it is there: a client may have its answer before."""
        await eventually(self.requests)
        [entry] = self.requests()
        return entry


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Afterwards: whatever a command has set up meanwhile."""
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in OURS)]
    levels, handlers = [logger.level for logger in loggers], root.handlers[:]
    hooks = sys.excepthook, threading.excepthook
    try:
        yield
    finally:
        for added in set(root.handlers) - set(handlers):
            if isinstance(added, StandardError | Kept):
                root.removeHandler(added)
        logging.captureWarnings(False)
        sys.excepthook, threading.excepthook = hooks
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class Kept(logging.StreamHandler[io.StringIO]):
    """Of a test."""


@contextmanager
def written(**changes: Any) -> Iterator[Written]:
    """The log of this process goes there meanwhile; as JSON unless the changes say otherwise."""
    stream = io.StringIO()
    with logging_as_it_was():
        settings = settings_of(**{"log_format": "json", "log_level": "info", **changes})
        configure(settings, Kept(stream))
        yield Written(stream)
