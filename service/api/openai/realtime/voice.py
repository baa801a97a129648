"""One response, told as the Realtime API tells it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.text.language import CalledFunction, ChatMessage
from model.text.tools.calls import Call
from service.api.openai.realtime.events import Outbox, error_object, usage_object
from service.api.openai.realtime.items import (
    ItemStatus,
    call_item,
    message_item,
    new_id,
)
from service.api.openai.realtime.schemas import ResponseConfig
from service.api.sessions.answering import Answered, CalledOut, Mused, Spoke, Step, TurnEvent, Used
from service.api.sessions.history import Entry, History
from service.errors import ApiError

FIELD = "uncertainty_routing"


@dataclass(slots=True)
class _Message:
    """The message that is being said."""

    id: str
    index: int
    texts: list[str]

    @property
    def text(self) -> str:
        return "".join(self.texts)


class RealtimeVoice:
    """history: where the answer goes; None for one out of band. conversation_id: of that history.
    event_id: of the client's event that asked for the answer. ended: called when the answer is
    in the history, before the client hears so."""

    def __init__(
        self,
        outbox: Outbox,
        history: History | None,
        conversation_id: str,
        config: ResponseConfig,
        event_id: str | None,
        ended: Callable[[], None],
    ) -> None:
        self.id = new_id("resp")
        self.used = Used()
        self.unfinished: set[str] = set()
        self._outbox = outbox
        self._history = history
        self._conversation_id = conversation_id if history is not None else None
        self._config = config
        self._event_id = event_id
        self._ended = ended
        self._begun = False
        self._output: list[dict[str, Any]] = []
        self._message: _Message | None = None

    async def begin(self) -> None:
        self._begun = True
        await self._outbox.send("response.created", response=self._response("in_progress"))

    async def hear(self, event: TurnEvent) -> None:
        match event:
            case Spoke(text):
                await self._delta(text)
            case Step(step, _):
                # On empty text, which every client can append: unknown types are misread.
                await self._delta("", **{FIELD: step})
            case Mused():
                pass  # it is not asked for
            case CalledOut(call):
                await self._close_message("completed")
                await self._call(call)
            case Answered(finish, decision, _):
                cut = finish == "length"
                status: ItemStatus = "incomplete" if cut else "completed"
                await self._close_message(status)
                more = {} if decision is None else {FIELD: decision}
                details = {"type": "incomplete", "reason": "max_output_tokens"} if cut else None
                await self._done(status, details, **more)

    async def failed(self, error: ApiError, *, begun: bool) -> None:
        if not begun:
            await self._outbox.error(error, self._event_id)
            return
        await self._close_message("incomplete")
        shown = error_object(error)
        told = {name: shown[name] for name in ("type", "code", "message")}
        await self._done("failed", {"type": "failed", "error": told})

    async def cancelled(self) -> None:
        """After the turn was interrupted: what was said stays."""
        if not self._begun:
            await self.begin()
        await self._close_message("incomplete")
        await self._done("cancelled", {"type": "cancelled", "reason": "client_cancelled"})

    async def _delta(self, text: str, **more: Any) -> None:
        message = self._message or await self._open_message()
        await self._part(message, "response.output_text.delta", delta=text, **more)
        message.texts.append(text)

    async def _open_message(self) -> _Message:
        message = _Message(new_id("item"), len(self._output), [])
        self._message = message
        self.unfinished.add(message.id)
        item = message_item(message.id, "assistant", [], "in_progress")
        self._output.append(item)
        said = ChatMessage(role="assistant", content="")
        await self._add_item(item, message.index, said)
        part = {"type": "text", "text": ""}
        await self._part(message, "response.content_part.added", part=part)
        return message

    async def _close_message(self, status: ItemStatus) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        text = message.text
        if self._history is not None:
            said = ChatMessage(role="assistant", content=text)
            self._history.replace(message.id, said)
        await self._part(message, "response.output_text.done", text=text)
        part = {"type": "text", "text": text}
        await self._part(message, "response.content_part.done", part=part)
        content = [{"type": "output_text", "text": text}]
        item = message_item(message.id, "assistant", content, status)
        if status == "completed":
            self.unfinished.discard(message.id)
        await self._end_item(item, message.index)

    async def _call(self, call: Call) -> None:
        index = len(self._output)
        item_id, call_id = new_id("item"), new_id("call")
        made = CalledFunction(call.name, json.loads(call.arguments), call_id)
        turn = ChatMessage(role="assistant", content="", tool_calls=(made,))
        begun = call_item(item_id, call_id, call.name, "", "in_progress")
        self._output.append(begun)
        await self._add_item(begun, index, turn)
        place = {"response_id": self.id, "item_id": item_id, "output_index": index,
                 "call_id": call_id}  # fmt: skip
        kind = "response.function_call_arguments"
        await self._outbox.send(f"{kind}.delta", delta=call.arguments, **place)
        await self._outbox.send(f"{kind}.done", name=call.name, arguments=call.arguments, **place)
        whole = call_item(item_id, call_id, call.name, call.arguments, "completed")
        await self._end_item(whole, index)

    async def _add_item(self, item: dict[str, Any], index: int, turn: ChatMessage) -> None:
        await self._outbox.send(
            "response.output_item.added", response_id=self.id, output_index=index, item=item
        )
        if self._history is not None:
            self._history.keep(Entry(item["id"], turn))
            before = self._history.before(item["id"])
            await self._outbox.send("conversation.item.added", previous_item_id=before, item=item)

    async def _end_item(self, item: dict[str, Any], index: int) -> None:
        self._output[index] = item
        if self._history is not None and self._history.find(item["id"]) is not None:
            before = self._history.before(item["id"])
            await self._outbox.send("conversation.item.done", previous_item_id=before, item=item)
        await self._outbox.send(
            "response.output_item.done", response_id=self.id, output_index=index, item=item
        )

    async def _part(self, message: _Message, kind: str, **fields: Any) -> None:
        await self._outbox.send(
            kind,
            response_id=self.id,
            item_id=message.id,
            output_index=message.index,
            content_index=0,
            **fields,
        )

    async def _done(self, status: str, details: dict[str, Any] | None, **more: Any) -> None:
        self._ended()
        response = self._response(status, details, usage=usage_object(self.used), **more)
        await self._outbox.send("response.done", response=response)

    def _response(
        self, status: str, details: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": list(self._output),
            "conversation_id": self._conversation_id,
            "output_modalities": ["text"],
            "max_output_tokens": self._config.max_output_tokens,
            "metadata": self._config.metadata or None,
            "usage": None,
            **more,
        }
