"""A client that does next to nothing while it measures: bytes are kept, and read afterwards."""

import asyncio
import time
from dataclasses import dataclass, field

from benchmarks.gateway.tokens import BadStream

_LAST_CHUNK = b"\r\n0\r\n\r\n"
_CLOSE = b"\x88\x02\x03\xe8"
_CLOSE_REPLY = b"\x88\x82" + bytes(4) + b"\x03\xe8"


@dataclass
class Exchange:
    """One request and what came back. Times are of time.perf_counter(); first: when bytes of the
    answer's text were there, seen by a mark."""

    mark: bytes
    sent: float = 0.0
    first: float = 0.0
    ended: float = 0.0
    raw: bytearray = field(default_factory=bytearray)


class Connection(asyncio.Protocol):
    """One HTTP connection, kept open, or one WebSocket."""

    def __init__(self) -> None:
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self._length: int | None = None
        self._socket = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    async def ask(self, request: bytes, mark: bytes) -> Exchange:
        """Until the reply's end. Raises BadStream when the connection ends before it."""
        exchange = self._expect(mark)
        self._write(request)
        assert self._done is not None
        await self._done
        return exchange

    async def upgrade(self, request: bytes) -> Exchange:
        """Opens a WebSocket: returns when the handshake is answered."""
        exchange = self._expect(b"\xff\xff\xff")
        self._socket = True
        self._write(request)
        while b"\r\n\r\n" not in exchange.raw:  # noqa: ASYNC110 (nothing is timed here)
            await asyncio.sleep(0.001)
        return exchange

    async def say(self, exchange: Exchange, message: bytes) -> None:
        """A message on an open WebSocket, and all that is answered until it closes."""
        exchange.mark = b""  # the first message has text; compressed, it has no mark
        exchange.sent = time.perf_counter()
        self._write(message)
        assert self._done is not None
        await self._done

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _expect(self, mark: bytes) -> Exchange:
        self._exchange = Exchange(mark, sent=time.perf_counter())
        self._done = asyncio.get_running_loop().create_future()
        self._length = None
        return self._exchange

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.raw += data
        if not exchange.first and exchange.mark in exchange.raw:
            exchange.first = time.perf_counter()
        if self._socket:
            if exchange.raw.endswith(_CLOSE):
                self._write(_CLOSE_REPLY)
                self._finish(exchange)
        elif self._is_whole(exchange):
            self._finish(exchange)

    def _is_whole(self, exchange: Exchange) -> bool:
        if exchange.raw.endswith(_LAST_CHUNK):
            return True
        if self._length is None:
            self._length = _whole_length(exchange.raw)
        return 0 < self._length <= len(exchange.raw)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, done = self._exchange, self._done
        if exchange is None or done is None or done.done():
            return
        if self._socket:
            self._finish(exchange)
        else:
            done.set_exception(BadStream("the connection ended before the reply did"))

    def eof_received(self) -> bool:
        return False

    def _finish(self, exchange: Exchange) -> None:
        exchange.ended = time.perf_counter()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


def _whole_length(raw: bytearray) -> int | None:
    """Bytes of the whole reply, where its head says so; 0 where it does not."""
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        return None
    for line in bytes(raw[:end]).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return end + 4 + int(line.partition(b":")[2])
    return 0


async def connect(port: int) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection
