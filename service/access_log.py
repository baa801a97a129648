"""What uvicorn writes about requests: whose key it was, no probes, no credentials."""

import logging
import re

from service.guard.visits import current_visit

PROBES = frozenset(("/healthz", "/readyz", "/health", "/ping", "/metrics"))

_KEY = re.compile(r"(?:(?<=[?&]key=)|(?<=[?&]access_token=)|(?<=[?&]upload_id=))[^&\s]*")
"""Gemini's clients may send theirs in the address; an upload's id is as good as one."""

_SECRET_HEADERS = frozenset(("authorization", "x-goog-api-key", "sec-websocket-protocol"))
"""At level debug the headers of a WebSocket's handshake are written one by one."""


class AccessFilter(logging.Filter):
    """For uvicorn's access logger, whose arguments are (client, method, path, version, status)."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        client, method, path, version, status = record.args
        if str(path).partition("?")[0] in PROBES:
            return False
        record.args = (_whose(client), method, _KEY.sub("...", str(path)), version, status)
        return True


class KeyFilter(logging.Filter):
    """For uvicorn's other logger, which names the addresses of WebSockets."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple):
            return True
        args = [_KEY.sub("...", arg) if isinstance(arg, str) else arg for arg in record.args]
        if len(args) == 2 and str(args[0]).lower() in _SECRET_HEADERS:
            args[1] = "..."
        if args and str(record.msg).startswith('%s - "WebSocket'):
            args[0] = _whose(args[0])
        record.args = tuple(args)
        return True


def _whose(client: object) -> object:
    """The client's address and the name of its key. Written while the request's task runs."""
    visit = current_visit.get()
    return client if visit is None else f"{client} - {visit.account.name}"


_ACCESS, _KEYS = AccessFilter(), KeyFilter()


def install() -> None:
    """After uvicorn has set its loggers up. Any number of times."""
    logging.getLogger("uvicorn.access").addFilter(_ACCESS)
    logging.getLogger("uvicorn.error").addFilter(_KEYS)
