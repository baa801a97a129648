"""A client that does not read is cut, so that what it asked for ends and its pages are free.

uvicorn awaits the transport in every `send`, so at most its high-water mark (64 KiB) and the
kernel's socket buffer wait for a reader. How long they may wait is decided here, on the
transport's own signals: it costs nothing while the client reads.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

CutReason = Literal[
    "slow_reader", "slow_head", "large_head", "not_http", "too_many_connections", "no_pong"
]
"""Why a connection is refused or cut. slow_reader: does not read its answer. slow_head, large_head:
of a request. no_pong: of a WebSocket."""

Cut = Callable[[CutReason, asyncio.BaseTransport], None]
"""Told of each connection that is cut, before it is."""


def no_matter(reason: CutReason, transport: asyncio.BaseTransport) -> None:
    """Nobody asks why."""


class WriteTimer:
    """Aborts a connection whose buffer stays full, or that stays open after it was closed.

    From `paused` until `resumed`, or from `closing` on, the client has `seconds`. An abort
    reaches the application as a disconnect, whatever it waits for.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        seconds: float,
        cut: Cut = no_matter,
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._seconds = seconds
        self._cut = cut
        self._handle: asyncio.TimerHandle | None = None
        self._closing = False

    def paused(self) -> None:
        """The buffer is full. A client that drains it too slowly is not helped by a later full."""
        if self._handle is None:
            self._handle = self._loop.call_later(self._seconds, self._abort)

    def _abort(self) -> None:
        self._cut("slow_reader", self._transport)
        self._transport.abort()

    def resumed(self) -> None:
        """The buffer has room again. A connection that closes keeps its end."""
        if not self._closing:
            self.stop()

    def closing(self) -> None:
        """What is still unread gets its time, but the descriptor is not held for ever."""
        self._closing = True
        self.paused()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
