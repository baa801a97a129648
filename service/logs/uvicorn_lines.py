"""What uvicorn and its parsers write themselves: no credentials, no texts, no second access log."""

import logging
import re

_KEY = re.compile(r"(?:(?<=[?&]key=)|(?<=[?&]access_token=)|(?<=[?&]upload_id=))[^&\s]*")
"""Gemini's clients may send theirs in the address; an upload's id is as good as one."""

_SECRET_HEADERS = frozenset(("authorization", "x-goog-api-key", "sec-websocket-protocol"))
"""At level debug the headers of a WebSocket's handshake are written one by one."""

_FRAMES = frozenset(("< %s", "> %s"))
"""And so are its frames, which hold prompts and answers."""

_TOLD_ELSEWHERE = (
    '%s - "WebSocket',
    "connection open",
    "connection closed",
    "connection rejected",
    "Invalid HTTP request",
    "Unsupported upgrade request",
)
"""By the line of the request, or seldom (service.logs.cuts)."""


class UvicornFilter(logging.Filter):
    """For uvicorn's logger of all but requests, which names the addresses of WebSockets."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = str(record.msg)
        if message in _FRAMES:
            return False
        if message.startswith(_TOLD_ELSEWHERE):
            if not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
                return False
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        if message.startswith("! "):
            record.exc_info = None  # quotes headers
        if isinstance(record.args, tuple):
            args = [_KEY.sub("...", arg) if isinstance(arg, str) else arg for arg in record.args]
            if len(args) == 2 and str(args[0]).lower() in _SECRET_HEADERS:
                args[1] = "..."
            record.args = tuple(args)
        return True


_FILTER = UvicornFilter()


def install() -> None:
    """After uvicorn has set its loggers up. Any number of times."""
    logging.getLogger("uvicorn.error").addFilter(_FILTER)
