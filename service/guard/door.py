"""The door: who may come in, and how often. Before a body is read."""

from collections.abc import Callable, Collection

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ApiError
from service.guard.credentials import presented
from service.guard.key_store import KeyStore
from service.guard.origins import Origins
from service.guard.visits import Visit, current_visit

MAX_UNREAD = 1024 * 1024
"""How much of the body of a refused request is thrown away, in bytes, before its connection is
closed instead. A client that is still sending would lose the reply."""

Render = Callable[[HTTPConnection, ApiError], Response]


class Door:
    """Pure ASGI. Paths in `open_paths` are let through, over HTTP. Who is let in is in
    `current_visit`; who is not gets a reply, for a WebSocket in place of its handshake.

    refused: told the reason, for metrics. needs_no_key: whether a request carries, instead of a
    key, something that nobody can guess; what comes of it is its endpoint's to decide.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: KeyStore,
        origins: Origins,
        open_paths: Collection[str],
        render: Render,
        refused: Callable[[str], None],
        needs_no_key: Callable[[Scope], bool] = lambda _: False,
    ) -> None:
        self._app = app
        self._store = store
        self._origins = origins
        self._open_paths = frozenset(open_paths)
        self._render = render
        self._refused = refused
        self._needs_no_key = needs_no_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Never reset: the context is that of the request's own task, and the access log, written
        # when the reply begins, reads the name from it.
        current_visit.set(None)
        if scope["type"] not in ("http", "websocket") or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            self._enter(scope)
        except ApiError as error:
            self._refused(REASONS[error.kind])
            await self._turn_away(error, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        # Of the scope, not of the URL: that one is built from the Host header (CVE-2026-48710).
        return scope["type"] == "http" and scope["path"] in self._open_paths

    def _enter(self, scope: Scope) -> None:
        """Sets `current_visit` as soon as it is known: the log of a refusal names the key too.
        Raises ApiError("forbidden"), ("unauthenticated") or ("rate_limited")."""
        if not self._origins.admits(scope):
            raise ApiError(
                "forbidden",
                "pages of other origins may not use this server; --cors-origins allows them",
                code="origin_not_allowed",
            )
        if not self._store.required or self._needs_no_key(scope):
            return
        keys = presented(scope)
        account = self._store.find(keys)
        if account is None:
            raise ApiError(
                "unauthenticated",
                "the API key is not one of this server's"
                if keys
                else "an API key is needed: as Authorization: Bearer, x-goog-api-key or ?key=",
                code="invalid_api_key",
            )
        current_visit.set(Visit(account))
        account.begin()

    async def _turn_away(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self._render(HTTPConnection(scope), error)
        if scope["type"] == "http" and not await _read_away(receive):
            reply.headers["connection"] = "close"
        if scope["type"] == "websocket" and not _may_reply(scope):
            await send({"type": "websocket.close", "code": 1008})  # becomes a bare 403
            return
        await reply(scope, receive, send)


REASONS = {
    "unauthenticated": "unauthenticated",
    "forbidden": "forbidden",
    "rate_limited": "rate_limit",
}
"""Label values of `pollux:requests_refused`, by the kind of the error."""


def _may_reply(scope: Scope) -> bool:
    return "websocket.http.response" in scope.get("extensions", {})


async def _read_away(receive: Receive) -> bool:
    """Whether the body came to its end within bounds."""
    seen = 0
    while seen <= MAX_UNREAD:
        try:
            message: Message = await receive()
        except ApiError:  # larger or slower than any body may be
            return False
        if message["type"] != "http.request":
            return False
        if not message.get("more_body"):
            return True
        seen += len(message.get("body", b""))
    return False
