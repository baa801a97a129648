"""WebSocket /v1/stream: one question per socket, everything about it as it happens.

    client  the chat request (JSON), then at most {"type": "abort"}
    server  {"type": "delta", "index", "text", "reasoning"} ...        plain
            {"type": "direct"}, {"type": "vote"} ..., {"type": "decision"},    routed
            {"type": "delta"}                                    (with "refusal" if it abstains)
            {"type": "done", "response": the chat.completion object}   or {"type": "aborted"}
            {"type": "error", "error": {...}} and a close code that fits

A message longer than a body may be is refused by the server itself (close code 1009).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from model.contract import PathOutput
from routing.events import Shown
from service.api.errors import known
from service.api.generation import empty_completion
from service.api.openai import chat, routed
from service.api.openai.rendering import Reply, chat_logprobs, error_body
from service.api.openai.schemas import ChatRequest
from service.api.parsing import parse
from service.api.planning import PlainPlan
from service.api.routed import RoutedPlan, progress
from service.api.tools.reading import heard, message_of
from service.errors import ApiError, ClientGone, Kind, shutting_down
from service.gateway import Gateway
from service.logs.record import note_error

log = logging.getLogger("pollux")

router = APIRouter()

CLOSE_CODES: dict[Kind, int] = {
    "overloaded": 1013,
    "rate_limited": 1013,
    "unavailable": 1013,
    "internal": 1011,
    "deadline": 1011,
}
NORMAL, POLICY = 1000, 1008

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    await socket.accept()
    try:
        await _serve(socket, socket.app.state.gateway)
        await _close(socket, NORMAL)
    except WebSocketDisconnect:
        note_error(ClientGone())
    except asyncio.CancelledError:
        # The server's, at the end of its grace.
        await _refuse(socket, shutting_down())
    except Exception as error:
        shown = known(error)
        if shown.kind == "internal":
            log.exception("a socket's request failed")
        await _refuse(socket, shown)


async def _serve(socket: WebSocket, gateway: Gateway) -> None:
    body = await _first_message(socket, gateway.settings.socket_first_message_timeout)
    plan = await gateway.plan(await chat.read_ask(gateway, body, socket.headers))
    reply = chat.reply_of(gateway, body)

    async def send(message: dict[str, Any]) -> None:
        await socket.send_text(msgspec.json.encode(message).decode())

    async def run() -> None:
        async with asyncio.timeout(plan.timeout):
            if isinstance(plan, PlainPlan):
                await _plain(send, gateway, plan, reply, body)
            else:
                await _routed(send, gateway, plan, reply)

    work = asyncio.ensure_future(run())
    control = asyncio.ensure_future(_until_abort(socket))
    try:
        await asyncio.wait({work, control}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            return
        control.result()
    finally:
        work.cancel()
        control.cancel()
        await asyncio.gather(work, control, return_exceptions=True)
    await send({"type": "aborted"})


async def _first_message(socket: WebSocket, seconds: float) -> ChatRequest:
    try:
        async with asyncio.timeout(seconds):
            first = await _receive(socket)
    except TimeoutError:
        raise ApiError("invalid", f"no request came within {seconds:g} seconds") from None
    return await parse(first, ChatRequest)


async def _receive(socket: WebSocket) -> str | bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL))
    text: str | None = message.get("text")
    return text if text is not None else bytes(message.get("bytes") or b"")


async def _until_abort(socket: WebSocket) -> None:
    """Raises WebSocketDisconnect when the client leaves, ApiError for any other message."""
    received = await _receive(socket)
    try:
        message = msgspec.json.decode(received)
    except (msgspec.DecodeError, RecursionError):
        message = None
    if not isinstance(message, dict) or message.get("type") != "abort":
        raise ApiError("invalid", 'after the request only {"type": "abort"} may be sent')


async def _plain(
    send: Send, gateway: Gateway, plan: PlainPlan, reply: Reply, body: ChatRequest
) -> None:
    """Calls of functions are in the whole response, not in deltas."""
    _, text = gateway.model()
    completion = empty_completion(plan.group)
    completion.counts.counters = plan.counters(text)
    readers = [plan.reader(text) for _ in range(plan.paths)]
    async with aclosing(gateway.generate(plan)) as events:
        async for event in events:
            completion.add(event)
            if not isinstance(event, PathOutput):
                continue
            said = message_of(heard(readers[event.path], event))
            if said.text or said.reasoning or event.logprobs:
                delta: dict[str, Any] = {"type": "delta", "index": event.path, "text": said.text}
                if said.reasoning:
                    delta["reasoning"] = said.reasoning
                if body.logprobs:
                    delta["logprobs"] = chat_logprobs(event.logprobs, text.tokenizer)
                await send(delta)
    await send({"type": "done", "response": chat.render(gateway, completion, reply, body, plan)})


async def _routed(send: Send, gateway: Gateway, plan: RoutedPlan, reply: Reply) -> None:
    async with aclosing(gateway.route(plan)) as events:
        async for event in events:
            step = progress(event, plan.policy)
            if step is not None:
                await send({"type": step.pop("event"), **step})
            if isinstance(event, Shown):
                refusal = routed.refusal_of(event)
                refused = {} if refusal is None else {"refusal": refusal}
                if event.reasoning:
                    refused["reasoning"] = event.reasoning
                await send({"type": "delta", "index": 0, "text": event.text, **refused})
                await send({"type": "done", "response": routed.render(event, reply)})


async def _refuse(socket: WebSocket, error: ApiError) -> None:
    note_error(error)
    try:
        message = {"type": "error", **error_body(error)}
        await socket.send_text(msgspec.json.encode(message).decode())
    except (WebSocketDisconnect, RuntimeError):
        return
    await _close(socket, CLOSE_CODES.get(error.kind, POLICY), error.message)


async def _close(socket: WebSocket, code: int, reason: str = "") -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        # A close frame holds 123 bytes of reason.
        short = reason.encode()[:120].decode(errors="ignore")
        await socket.close(code, short)
