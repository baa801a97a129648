"""Request bodies are counted and timed while they come in: what is too large is never held."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ApiError

LINGER_S = 2.0
LINGER_FACTOR = 8
"""How long, and for how many times the limit, a body that was refused is still thrown away. A
connection that closes with unread data loses the reply on its way (a reset)."""


@dataclass(frozen=True, slots=True)
class BodyRule:
    """seconds: for the whole body; for a long one, every `bytes_per_second` bytes that are there
    add one."""

    max_bytes: int
    seconds: float
    bytes_per_second: int | None = None

    def time_for(self, seen: int) -> float:
        more = 0.0 if self.bytes_per_second is None else seen / self.bytes_per_second
        return self.seconds + more


class BodyLimit:
    """Pure ASGI. Whoever reads the body gets ApiError("too_large") once it passes the limit, and
    ApiError("slow") when it is not all there in time.

    special: the rule of requests that bring more than others may; None for all others.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        seconds: float,
        special: Callable[[Scope], BodyRule | None] = lambda _: None,
    ) -> None:
        self._app = app
        self._usual = BodyRule(max_bytes, seconds)
        self._special = special

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._special(scope) or self._usual
        declared = _content_length(scope)
        seen = 0
        refused = False
        began = asyncio.get_running_loop().time()
        deadline: float | None = began + rule.seconds

        async def counted() -> Message:
            nonlocal seen, refused, deadline
            refused = refused or (declared is not None and declared > rule.max_bytes)
            if refused:
                raise _too_large(rule)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise _too_slow(rule.time_for(seen)) from None
            if not message.get("more_body"):
                deadline = None  # what comes after the body is the disconnect, whenever
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                refused = seen > rule.max_bytes
                if deadline is not None:
                    deadline = began + rule.time_for(seen)
            if refused:
                raise _too_large(rule)
            return message

        async def lingering(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if not (refused and last):
                await send(message)
                return
            await send({**message, "more_body": True})
            await self._throw_away(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, counted, lingering)

    async def _throw_away(self, receive: Receive) -> None:
        left = LINGER_FACTOR * self._usual.max_bytes
        try:
            async with asyncio.timeout(LINGER_S):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return
        except TimeoutError:
            return


def _too_slow(seconds: float) -> ApiError:
    return ApiError(
        "slow",
        f"the request body did not arrive within {seconds:g} seconds",
        code="request_timeout",
    )


def _too_large(rule: BodyRule) -> ApiError:
    return ApiError(
        "too_large",
        f"the request body is larger than the {rule.max_bytes} bytes that are allowed",
        code="request_too_large",
    )


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None
