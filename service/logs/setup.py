"""The process's log: one handler, on standard error, for everything that is logged in it."""

import logging
import sys
import threading
from types import TracebackType
from typing import Any

from service.logs.formats import JsonFormatter, TextFormatter
from service.settings import Settings

OURS = ("pollux", "service", "routing", "model", "uvicorn")
"""Loggers that `log_level` is about. Of all others warnings are shown: what they
say in detail may quote requests."""

log = logging.getLogger("pollux")


class StandardError(logging.StreamHandler[Any]):
    """Looks up `sys.stderr` for each line, so that it never holds on to one that was replaced."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def configure(settings: Settings, handler: logging.Handler | None = None) -> logging.Handler:
    """Once per process; again replaces what was there. Returns the handler."""
    handler = handler or StandardError()
    form = JsonFormatter if settings.log_format == "json" else TextFormatter
    handler.setFormatter(form(show_messages=settings.log_prompts))
    root = logging.getLogger()
    for other in root.handlers[:]:
        if isinstance(other, StandardError):
            root.removeHandler(other)
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root.setLevel(max(level, logging.WARNING))
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_of_thread
    return handler


def tell(line: str, level: int = logging.INFO) -> bool:
    """A line of a command (what it serves, how far it is), whatever the level. False where the log
    is none of machines: then it is for people and stays as it is."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            message = line.strip().removeprefix("pollux: ")
            handler.handle(log.makeRecord("pollux", level, "", 0, message, (), None))
            return True
    return False


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the process ends by an error", exc_info=(kind, error, trace))


def _uncaught_of_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value
    if error is None or isinstance(error, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "unknown"
    log.error("thread %s ended by an error", name, exc_info=error)
