"""One answer, told as the Live API tells it."""

from collections.abc import Awaitable, Callable
from typing import Any

from service.api.gemini.live import rendering
from service.api.gemini.tools import call_part
from service.api.sessions.answering import Answered, CalledOut, Mused, Spoke, Step, TurnEvent, Used
from service.api.sessions.line import Line
from service.errors import ApiError


class LiveVoice:
    """text, reasoning, calls: what was told so far; each call as its message has it. ended: called
    when the answer is whole, before the client hears so."""

    def __init__(self, line: Line, ended: Callable[["LiveVoice"], Awaitable[None]]) -> None:
        self.used = Used()
        self.calls: list[dict[str, Any]] = []
        self._line = line
        self._ended = ended
        self._texts: list[str] = []
        self._thoughts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def reasoning(self) -> str | None:
        return "".join(self._thoughts) or None

    async def begin(self) -> None:
        """The first word says it."""

    async def hear(self, event: TurnEvent) -> None:
        match event:
            case Spoke(text):
                for message in rendering.spoken(text):
                    await self._line.send(message)
                self._texts.append(text)
            case Mused(text, vote):
                for message in rendering.spoken(text, thought=True):
                    await self._line.send(message)
                self._thoughts += [] if vote else [text]
            case CalledOut(call):
                self.calls.append(call_part(call)["functionCall"])
            case Step(step, metadata):
                await self._line.send(rendering.voted(step, part_metadata=metadata))
            case Answered(_, decision, metadata):
                if decision is not None:
                    await self._line.send(rendering.voted(decision, part_metadata=metadata))
                await self._ended(self)

    async def failed(self, error: ApiError, *, begun: bool) -> None:
        self._line.end(rendering.over(error))

    async def end(self, *, interrupted: bool) -> None:
        said = {"interrupted": True} if interrupted else {"generationComplete": True}
        await self._line.send(rendering.content(**said))
        complete = rendering.content(turnComplete=True)
        await self._line.send({**complete, **rendering.usage(self.used)})

    async def ask_for_results(self) -> None:
        """The turn goes on when the client has answered the calls."""
        *most, last = rendering.tool_calls(self.calls)
        for message in most:
            await self._line.send(message)
        await self._line.send({**last, **rendering.usage(self.used)})
