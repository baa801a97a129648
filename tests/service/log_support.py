"""What a test's server writes to its log, as it would stand on standard error."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.logs.setup import OURS, configure
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
def written(**changes: Any) -> Iterator[Written]:
    """The log of this process goes there meanwhile; as JSON unless the changes say otherwise."""
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in OURS)]
    levels = [logger.level for logger in loggers]
    hooks = sys.excepthook, threading.excepthook
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    configure(settings_of(**{"log_format": "json", "log_level": "info", **changes}), handler)
    try:
        yield Written(stream)
    finally:
        root.removeHandler(handler)
        logging.captureWarnings(False)
        sys.excepthook, threading.excepthook = hooks
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
