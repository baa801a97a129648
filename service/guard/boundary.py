"""The last line: no exception of ours reaches the client as anything but an error reply."""

import asyncio
import logging
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ApiError, as_api_error, shutting_down

log = logging.getLogger("pollux")


class ErrorBoundary:
    """Pure ASGI. Unexpected exceptions are logged with their request's id and answered as 500."""

    def __init__(self, app: ASGIApp, render: Callable[[Request, ApiError], Response]) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            # The server's, at the end of its grace.
            if started:
                raise
            reply = self._render(Request(scope), shutting_down())
            await reply(scope, receive, send)
        except Exception as error:
            request_id = scope.get("state", {}).get("request_id", "")
            log.exception("request %s failed", request_id)
            if started:
                raise
            reply = self._render(Request(scope), as_api_error(error))
            await reply(scope, receive, send)
