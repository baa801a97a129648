"""What no gateway in Python can go below: the same bytes from a bare ASGI application under
uvicorn, and from a bare asyncio server. Neither checks, limits or measures anything.

PORT uvicorn|asyncio. A process of its own.
"""

import asyncio
import sys
from typing import Any

import msgspec
import uvicorn
import uvloop

from benchmarks.gateway.tokens import token

_START = (
    b'data: {"id":"chatcmpl-9bb629a5fcbd45c6810729416d805eee","object":"chat.completion.chunk",'
    b'"created":1795533058,"model":"scripted","system_fingerprint":"fp_0123456789ab","choices":'
    b'[{"index":0,"delta":{"content":"'
)
_END = b'"},"logprobs":null,"finish_reason":null}]}\n\n'
_LAST = b"data: [DONE]\n\n"
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class _Asked(msgspec.Struct):
    seed: int = 0
    max_tokens: int = 1


def _event(asked: _Asked, place: int) -> bytes:
    return _START + token(asked.seed, 0, place).encode() + _END


async def application(scope: Any, receive: Any, send: Any) -> None:
    """ASGI. Every path streams; a GET says that it is ready."""
    if scope["type"] != "http":
        return
    raw, more = b"", True
    while more:
        message = await receive()
        raw += message.get("body", b"")
        more = message.get("more_body", False)
    asked = msgspec.json.decode(raw or b"{}", type=_Asked)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for place in range(asked.max_tokens if raw else 0):
        await send({"type": "http.response.body", "body": _event(asked, place), "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": _LAST})


class Bare(asyncio.Protocol):
    """HTTP as far as our own client speaks it."""

    def __init__(self, steps: "Steps") -> None:
        self._steps = steps
        self._raw = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._raw += data
        head, mark, rest = self._raw.partition(b"\r\n\r\n")
        if not mark:
            return
        if head.startswith(b"GET"):
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            self._raw = b""
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(rest) >= length:
            self._raw = b""
            self._transport.write(_HEAD)
            self._steps.add(self._transport, msgspec.json.decode(rest, type=_Asked))


class Steps:
    """One token of every stream in each turn of the loop."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Transport, tuple[_Asked, int]] = {}

    def add(self, transport: asyncio.Transport, asked: _Asked) -> None:
        if not self._running:
            asyncio.get_running_loop().call_soon(self._step)
        self._running[transport] = (asked, 0)

    def _step(self) -> None:
        for transport, (asked, place) in list(self._running.items()):
            transport.write(_chunk(_event(asked, place)))
            self._running[transport] = (asked, place + 1)
            if place + 1 >= asked.max_tokens:
                del self._running[transport]
                transport.write(_chunk(_LAST) + b"0\r\n\r\n")
        if self._running:
            asyncio.get_running_loop().call_soon(self._step)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(port: int) -> None:
    steps = Steps()
    server = await asyncio.get_running_loop().create_server(lambda: Bare(steps), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    port, kind = int(sys.argv[1]), sys.argv[2]
    if kind == "asyncio":
        uvloop.run(_serve(port))
    else:
        uvicorn.run(application, port=port, log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
