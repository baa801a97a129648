"""Raw sockets of both protocols, for what the official clients cannot send or do not show."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.scripted import Script, ScriptedWorker
from tests.service import support
from tests.service.support import MODEL, Running, shown

LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


def running(
    script: Script | ScriptedWorker, **changes: Any
) -> AbstractAsyncContextManager[Running]:
    """A gateway whose worker is asked for turns only, and to keep nothing between them."""
    return support.running(script, **{"session_hold_seconds": 0, **changes})


class Speaker:
    """A socket that speaks JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: Any) -> None:
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        await self.socket.send(raw)

    async def hear(self) -> dict[str, Any]:
        return json.loads(await self.socket.recv())

    async def until(self, done) -> list[dict[str, Any]]:
        """All messages up to the first for which it holds."""
        heard = [await self.hear()]
        while not done(heard[-1]):
            heard.append(await self.hear())
        return heard

    async def end(self) -> tuple[list[dict[str, Any]], int | None, str | None]:
        """What is still said, and the close frame's code and reason."""
        heard = []
        try:
            while True:
                heard.append(await self.hear())
        except ConnectionClosed as closed:
            frame = closed.rcvd
        assert frame is not None, "closed without a close frame"
        return heard, frame.code, frame.reason


def socket_base(server: Running) -> str:
    return f"ws{server.url.removeprefix('http')}"


@asynccontextmanager
async def speaking(server: Running, path: str, **options: Any) -> AsyncIterator[Speaker]:
    async with connect(socket_base(server) + path, **options) as socket:
        yield Speaker(socket)


class Live(Speaker):
    """The Gemini Live API."""

    async def set_up(self, **setup: Any) -> dict[str, Any]:
        await self.send({"setup": {"model": f"models/{MODEL}", **setup}})
        return await self.hear()

    async def say(self, text: str, *, complete: bool = True) -> None:
        turn = {"role": "user", "parts": [{"text": text}]}
        await self.send({"client_content": {"turns": [turn], "turnComplete": complete}})

    async def turn(self) -> list[dict[str, Any]]:
        return await self.until(lambda said: said.get("serverContent", {}).get("turnComplete"))

    async def ask(self, text: str) -> list[dict[str, Any]]:
        await self.say(text)
        return await self.turn()


@asynccontextmanager
async def live(server: Running, path: str = LIVE, **options: Any) -> AsyncIterator[Live]:
    async with connect(socket_base(server) + path, **options) as socket:
        yield Live(socket)


def text_of(messages: list[dict[str, Any]]) -> str:
    turns = (m.get("serverContent", {}).get("modelTurn", {}) for m in messages)
    return "".join(part["text"] for turn in turns for part in turn.get("parts", []))


class Realtime(Speaker):
    """The OpenAI Realtime API."""

    async def say(self, text: str) -> str:
        """A user's item; its id."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send({"type": "conversation.item.create", "item": item})
        heard = await self.until(lambda said: said["type"] == "conversation.item.done")
        return heard[-1]["item"]["id"]

    async def respond(self, **response: Any) -> list[dict[str, Any]]:
        await self.send({"type": "response.create", "response": response})
        return await self.until(lambda said: said["type"] in ("response.done", "error"))

    async def ask(self, text: str, **response: Any) -> list[dict[str, Any]]:
        await self.say(text)
        return await self.respond(**response)

    async def told(self, event: dict[str, Any]) -> dict[str, Any]:
        """The next event after this one is sent."""
        await self.send(event)
        return await self.hear()


@asynccontextmanager
async def realtime(
    server: Running, model: str = MODEL, path: str = "/v1/realtime", **options: Any
) -> AsyncIterator[Realtime]:
    """With its session created."""
    async with connect(f"{socket_base(server)}{path}?model={model}", **options) as socket:
        speaker = Realtime(socket)
        assert (await speaker.hear())["type"] == "session.created"
        yield speaker


def prompt_of(server: Running, group: int = -1) -> str:
    """The prompt of a group, as the tiny model reads it."""
    ids = server.worker.groups[group].group.prompt.token_ids()
    return shown(server.backend.text, ids)
