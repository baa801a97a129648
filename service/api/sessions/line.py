"""One client's socket, bounded in what it may send, in how slowly it may read, and in time.

A line has no task of its own: whoever reads it waits in `receive`, under one timer that is set
for whatever is due first (the client's silence, the warning before the end, the end).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from service.guard.limits import Bucket
from service.settings import Settings

NORMAL, GOING_AWAY, BAD_DATA, POLICY = 1000, 1001, 1007, 1008
FAILED, RESTART, LATER = 1011, 1012, 1013

WARNING_S = 60.0
"""So long before its end a session is warned, or a tenth of its life if that is less."""

MAX_REASON_BYTES = 120
"""A close frame holds 123."""


class Over(Exception):
    """The session ends, with this close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Gone(Exception):
    """Nobody is there any more: the client left, or takes nothing that is sent."""


def stopping() -> Over:
    return Over(RESTART, "the server is shutting down")


class Line:
    """busy: a turn runs, so silence is no reason to end. warn: told the seconds that are left.

    Times are those of the event loop.
    """

    def __init__(self, socket: WebSocket, settings: Settings) -> None:
        self.busy = False
        self.warn: Callable[[float], Awaitable[None]] | None = None
        self._socket = socket
        self._settings = settings
        self._bucket = Bucket(settings.session_messages_per_minute, time.monotonic)
        self._limit: asyncio.Timeout | None = None
        self._ended: Over | Gone | None = None
        self._heard = asyncio.get_running_loop().time()
        self.end_at = self._heard + settings.session_lifetime
        self._warn_at = self.end_at - min(WARNING_S, settings.session_lifetime / 10)

    async def receive(self, within: float | None = None) -> str | bytes:
        """The next message. within: seconds that it may take to come. Raises Over, Gone."""
        while True:
            if self._ended is not None:
                raise self._ended
            due = self._due() if within is None else self._heard + within
            try:
                async with asyncio.timeout_at(due) as self._limit:
                    message = await self._socket.receive()
            except TimeoutError:
                if within is not None and self._ended is None:
                    raise Over(POLICY, f"no setup came within {within:g} seconds") from None
                await self._time_is_up()
                continue
            finally:
                self._limit = None
            if message["type"] == "websocket.disconnect":
                raise Gone
            return self._counted(message)

    async def send(self, message: Any) -> None:
        """As JSON. Raises Gone, also when the client does not take it in time."""
        await self.send_raw(msgspec.json.encode(message).decode())

    async def send_raw(self, text: str) -> None:
        if isinstance(self._ended, Gone):
            raise self._ended
        try:
            async with asyncio.timeout(self._settings.session_write_timeout):
                await self._socket.send_text(text)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            gone = Gone()
            self.end(gone)
            raise gone from None

    def end(self, how: Over | Gone) -> None:
        """Wakes whoever reads; the first reason counts."""
        self._ended = self._ended or how
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())

    def rest(self) -> None:
        """A turn is over: from now on the client's silence counts."""
        self.busy = False
        self._heard = asyncio.get_running_loop().time()
        if self._limit is not None and self._ended is None:
            self._limit.reschedule(self._due())

    async def close(self, over: Over) -> None:
        """Never raises; a client that takes nothing is left."""
        if self._socket.application_state is not WebSocketState.CONNECTED:
            return
        short = over.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        try:
            async with asyncio.timeout(self._settings.session_write_timeout):
                await self._socket.close(over.code, short)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return

    def _counted(self, message: Any) -> str | bytes:
        self._heard = asyncio.get_running_loop().time()
        if self._bucket.wait() > 0:
            most = self._settings.session_messages_per_minute
            raise Over(POLICY, f"more than {most} messages a minute")
        self._bucket.take()
        text: str | None = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    def _due(self) -> float:
        due = self.end_at if self.warn is None else min(self.end_at, self._warn_at)
        if self.busy:
            return due
        return min(due, self._heard + self._settings.session_idle_timeout)

    async def _time_is_up(self) -> None:
        """Raises what ended the session; else it was the warning's time, or nothing's any more."""
        now = asyncio.get_running_loop().time()
        if self._ended is not None:
            raise self._ended
        if now >= self.end_at:
            raise Over(GOING_AWAY, "the session has lasted as long as it may")
        if not self.busy and now >= self._heard + self._settings.session_idle_timeout:
            raise Over(GOING_AWAY, "the session was idle for too long")
        if self.warn is not None and now >= self._warn_at:
            warn, self.warn = self.warn, None
            await warn(self.end_at - now)
