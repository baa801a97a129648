"""Request bodies are counted and timed while they come in: what is too large is never held."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ApiError

LINGER_S = 2.0
LINGER_FACTOR = 8
"""How long, and for how many times the limit, a body that was refused is still thrown away. A
connection that closes with unread data loses the reply on its way (a reset)."""


class BodyLimit:
    """Pure ASGI. Whoever reads the body gets ApiError("too_large") once it passes the limit, and
    ApiError("slow") when it is not all there after `seconds`."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _content_length(scope)
        seen = 0
        refused = False
        deadline: float | None = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal seen, refused, deadline
            refused = refused or (declared is not None and declared > self._max_bytes)
            if refused:
                raise self._too_large()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            if not message.get("more_body"):
                deadline = None  # what comes after the body is the disconnect, whenever
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                refused = seen > self._max_bytes
            if refused:
                raise self._too_large()
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
        left = LINGER_FACTOR * self._max_bytes
        try:
            async with asyncio.timeout(LINGER_S):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return
        except TimeoutError:
            return

    def _too_slow(self) -> ApiError:
        return ApiError(
            "slow",
            f"the request body did not arrive within {self._seconds:g} seconds",
            code="request_timeout",
        )

    def _too_large(self) -> ApiError:
        return ApiError(
            "too_large",
            f"the request body is larger than the {self._max_bytes} bytes that are allowed",
            code="request_too_large",
        )


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None
