"""What is asked, protocol by protocol, and how the text of an answer is read out of its bytes."""

import base64
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.gateway.tokens import BadStream, check

_CHAT = [{"role": "user", "content": "How many are two and two?"}]


@dataclass(frozen=True)
class Protocol:
    """path: where it is asked, {model} in it. body: of (model, tag, tokens). text: of one event.
    before: bytes that only an event with text has, before the text."""

    name: str
    path: str
    body: Callable[[str, int, int], dict[str, Any]]
    text: Callable[[Any], str]
    before: bytes


def _chat_body(model: str, tag: int, tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": _CHAT,
        "max_tokens": tokens,
        "seed": tag,
        "stream": True,
    }


def _completion_body(model: str, tag: int, tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": "How many are two and two?",
        "max_tokens": tokens,
        "seed": tag,
        "stream": True,
    }


def _gemini_body(_: str, tag: int, tokens: int) -> dict[str, Any]:
    return {
        "contents": [{"role": "user", "parts": [{"text": "How many are two and two?"}]}],
        "generationConfig": {"maxOutputTokens": tokens, "seed": tag},
    }


def _chat_text(event: Any) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def _completion_text(event: Any) -> str:
    return "".join(choice["text"] for choice in event.get("choices", ()))


def _gemini_text(event: Any) -> str:
    parts = (part for one in event["candidates"] for part in one["content"]["parts"])
    return "".join(part.get("text", "") for part in parts)


def _socket_text(event: Any) -> str:
    return str(event["text"]) if event["type"] == "delta" else ""


CHAT = Protocol("chat", "/v1/chat/completions", _chat_body, _chat_text, b'"content":"')
COMPLETIONS = Protocol(
    "completions", "/v1/completions", _completion_body, _completion_text, b'"text":"'
)
GEMINI = Protocol(
    "Gemini",
    "/v1beta/models/{model}:streamGenerateContent?alt=sse",
    _gemini_body,
    _gemini_text,
    b'"text":"',
)
SOCKET = Protocol("WebSocket", "/v1/stream", _chat_body, _socket_text, b'"text":"')


def post(protocol: Protocol, model: str, tag: int, tokens: int, **more: Any) -> bytes:
    """The whole request, over a connection that stays open."""
    body = msgspec.json.encode({**protocol.body(model, tag, tokens), **more})
    path = protocol.path.format(model=model)
    return head("POST", path, {"content-type": "application/json"}, len(body)) + body


def message(protocol: Protocol, model: str, tag: int, tokens: int) -> bytes:
    return msgspec.json.encode(protocol.body(model, tag, tokens))


def head(method: str, path: str, headers: dict[str, str], length: int | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "authorization: Bearer " + KEY]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


KEY = "a-key-of-the-benchmark"


def handshake(path: str) -> bytes:
    """A browser's, with the compression that it offers."""
    headers = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        "sec-websocket-version": "13",
        "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
    }
    return head("GET", path, headers)


def frame(payload: bytes) -> bytes:
    """One text frame from a client. The mask is zero, which leaves the payload as it is."""
    size = len(payload)
    length = bytes([128 | size]) if size < 126 else bytes([254]) + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + payload


def verify(protocol: Protocol, raw: bytes, tag: int, tokens: int) -> int:
    """How many events brought the text. Raises BadStream."""
    events = frames(raw) if protocol is SOCKET else sse(raw)
    pieces = [piece for event in events if (piece := protocol.text(event))]
    check("".join(pieces), tag, 0, tokens)
    return len(pieces)


def ended_by_length(raw: bytes) -> None:
    """Raises BadStream."""
    reasons = [choice.get("finish_reason") for event in sse(raw) for choice in event["choices"]]
    if "length" not in reasons:
        raise BadStream(f"a stream ended with {reasons[-1:]}")


def sse(raw: bytes) -> Iterator[Any]:
    """Payloads of a chunked reply of server-sent events."""
    for event in _dechunked(raw).replace(b"\r\n", b"\n").split(b"\n\n"):
        if event.startswith(b"data:") and not event.endswith(b"[DONE]"):
            yield _payload(event[5:])


def body(raw: bytes) -> Any:
    """Of a reply that is one JSON object."""
    start, _, rest = raw.partition(b"\r\n\r\n")
    if not start.startswith(b"HTTP/1.1 200"):
        raise BadStream(f"the server answered {raw[:200]!r}")
    return _payload(_dechunked(raw) if b"chunked" in start.lower() else rest)


def _payload(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        raise BadStream(f"{raw[:80]!r} is not JSON") from None


def _dechunked(raw: bytes) -> bytes:
    start, _, rest = raw.partition(b"\r\n\r\n")
    if not start.startswith(b"HTTP/1.1 200"):
        raise BadStream(f"the server answered {raw[:200]!r}")
    parts, at = [], 0
    while True:
        end = rest.find(b"\r\n", at)
        if end < 0:
            raise BadStream("the reply was cut off")
        size = int(rest[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(rest[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def frames(raw: bytes) -> Iterator[Any]:
    """Text messages of a server, the handshake's reply before them."""
    start, _, rest = raw.partition(b"\r\n\r\n")
    if not start.startswith(b"HTTP/1.1 101"):
        raise BadStream(f"the server answered {raw[:200]!r}")
    inflate = _inflater()
    at = 0
    while at + 2 <= len(rest):
        first, size = rest[at], rest[at + 1]
        at += 2
        if size in (126, 127):
            width = 2 if size == 126 else 8
            size = int.from_bytes(rest[at : at + width], "big")
            at += width
        payload = rest[at : at + size]
        at += size
        if first & 0x0F == 1:
            yield _payload(inflate(payload) if first & 0x40 else payload)


def _inflater() -> Callable[[bytes], bytes]:
    inflater = zlib.decompressobj(-15)
    return lambda data: inflater.decompress(data + b"\x00\x00\xff\xff")
