"""How replies leave: plain ones when they are whole, streams as they come."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import ApiError, ClientGone, as_api_error, shutting_down
from service.guard.disconnect import until_disconnect
from service.logs.record import note_error, note_stream

log = logging.getLogger("pollux")
T = TypeVar("T")

FAREWELL_TIMEOUT = 5.0
"""Seconds that a client which does not read gets for the last chunk."""


class JSONReply(Response):
    """Any msgspec-encodable value."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


async def answer(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Runs work for a request whose body was read: bounded in time, ended by a disconnect."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return await until_disconnect(request.receive, bounded())


class EventStream(Response):
    """A body that is made as it is sent.

    The status line waits for the first chunk, so that whatever fails before it is an ordinary
    error reply; what fails later is the stream's last chunk. A client that leaves, or a time
    that runs out, closes `chunks` at once.

    chunks: made lazily, from nothing that needs closing. on_error: an error as a chunk.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes],
        *,
        on_error: Callable[[ApiError], bytes],
        timeout: float,
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.chunks = chunks
        self.on_error = on_error
        self.timeout = timeout
        self.status_code = 200
        self._started = False
        self.background = None
        self.media_type = media_type
        # Proxies must pass chunks on as they come.
        fixed = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        self.init_headers({**fixed, **(headers or {})})

    def render(self, content: Any) -> bytes:
        return b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        note_stream()
        try:
            await until_disconnect(receive, self._stream(send))
        except ClientGone as gone:
            note_error(gone)
            return
        except asyncio.CancelledError:
            # The server's, at the end of its grace: the reader is told, not cut.
            if not self._started:
                raise
            await self._fail(send, shutting_down())
            await self._end(send)

    async def _stream(self, send: Send) -> None:
        try:
            async with asyncio.timeout(self.timeout), aclosing(self.chunks) as chunks:
                async for chunk in chunks:
                    await self._start(send)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Exception as error:
            if not self._started:
                raise
            shown = as_api_error(error)
            if shown.kind == "internal":
                log.exception("a stream failed after it had begun")
            await self._fail(send, shown)
        await self._start(send)
        await self._end(send)

    async def _fail(self, send: Send, shown: ApiError) -> None:
        note_error(shown)
        async with asyncio.timeout(FAREWELL_TIMEOUT):
            await send(
                {"type": "http.response.body", "body": self.on_error(shown), "more_body": True}
            )

    async def _end(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send) -> None:
        if self._started:
            return
        self._started = True
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
