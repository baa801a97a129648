"""Items of a conversation in the Realtime API's words, and the turns that they are."""

import json
import secrets
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from model.text.language import CalledFunction, ChatMessage
from service.api.openai.messages import MadeFunction
from service.api.parts import MAX_MESSAGE_PARTS
from service.api.sessions.history import Entry, History
from service.errors import ApiError

ItemStatus = Literal["completed", "incomplete", "in_progress"]


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


class RealtimeObject(BaseModel):
    """A null is a field that was left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value is not None}
        return data


_MEDIA = {
    "input_audio": "this model reads no audio",
    "output_audio": "this model reads no audio",
    "input_image": "this model reads no images",
}


def _only_text(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _MEDIA:
        raise PydanticCustomError("unsupported_part", "{why}", {"why": _MEDIA[kind]})
    return part


class TextPart(RealtimeObject):
    type: Literal["input_text", "output_text", "text"]
    text: str


class _Item(RealtimeObject):
    """status and object are of items that came from here."""

    id: str | None = Field(None, min_length=1, max_length=64)
    object: Literal["realtime.item"] | None = None
    status: ItemStatus | None = None


class MessageItem(_Item):
    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: list[Annotated[TextPart, BeforeValidator(_only_text)]] = Field(
        min_length=1, max_length=MAX_MESSAGE_PARTS
    )

    def turn(self) -> ChatMessage:
        text = "\n".join(part.text for part in self.content)
        return ChatMessage(role=self.role, content=text)


class CallItem(_Item, MadeFunction):
    """A call that an answer made: of this conversation, or of one that went before."""

    type: Literal["function_call"]
    call_id: str | None = Field(None, min_length=1, max_length=256)

    def turn(self) -> ChatMessage:
        made = CalledFunction(self.name, self.arguments, self.call_id or new_id("call"))
        return ChatMessage(role="assistant", content="", tool_calls=(made,))


class OutputItem(_Item):
    """What a called function returned."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1, max_length=256)
    output: str

    def turn(self, name: str) -> ChatMessage:
        return ChatMessage(role="tool", content=self.output, name=name, tool_call_id=self.call_id)


class Reference(RealtimeObject):
    """An item of the conversation, in a response's own input."""

    type: Literal["item_reference"]
    id: str = Field(max_length=64)


_KINDS = ("message", "function_call", "function_call_output", "item_reference")


def _known(item: Any) -> Any:
    kind = item.get("type") if isinstance(item, dict) else None
    if isinstance(kind, str) and kind not in _KINDS:
        raise PydanticCustomError(
            "unsupported_item",
            "items of type {kind} are not supported here",
            {"kind": repr(kind[:40])},
        )
    return item


def _tag(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return f"<{kind}>" if kind in _KINDS else "<message>"


Item = Annotated[
    Annotated[
        Annotated[MessageItem, Tag("<message>")]
        | Annotated[CallItem, Tag("<function_call>")]
        | Annotated[OutputItem, Tag("<function_call_output>")]
        | Annotated[Reference, Tag("<item_reference>")],
        Discriminator(_tag),
    ],
    BeforeValidator(_known),
]

AnyItem = MessageItem | CallItem | OutputItem | Reference


def entry_of(item: AnyItem, called: dict[str, str]) -> Entry:
    """The item as a turn. called: names of the functions that calls before it called, by the ids
    of the calls; a call adds its own. Raises ApiError where it answers none of them."""
    assert not isinstance(item, Reference)
    entry_id = item.id or new_id("item")
    if isinstance(item, OutputItem):
        name = called.get(item.call_id)
        if name is None:
            raise ApiError(
                "invalid",
                f"there is no call {item.call_id[:64]!r} before it",
                param="item.call_id",
            )
        return Entry(entry_id, item.turn(name))
    turn = item.turn()
    called.update(names_of(turn))
    return Entry(entry_id, turn)


def names_of(turn: ChatMessage) -> dict[str, str]:
    """Names of the functions that a turn called, by the ids of its calls."""
    return {call.id or "": call.name for call in turn.tool_calls}


def called_in(history: History) -> dict[str, str]:
    called: dict[str, str] = {}
    for entry in history.entries:
        called.update(names_of(entry.message))
    return called


def rendered(entry: Entry, status: ItemStatus = "completed") -> dict[str, Any]:
    """A turn as an item."""
    turn = entry.message
    head: dict[str, Any] = {"id": entry.id, "object": "realtime.item"}
    if turn.role == "tool":
        output = {"call_id": turn.tool_call_id, "output": turn.content}
        return {**head, "type": "function_call_output", "status": status, **output}
    if turn.tool_calls:
        (call,) = turn.tool_calls
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        return call_item(entry.id, call.id or "", call.name, arguments, status)
    kind = "output_text" if turn.role == "assistant" else "input_text"
    content = [{"type": kind, "text": turn.content}]
    return message_item(entry.id, turn.role, content, status)


def message_item(
    item_id: str, role: str, content: list[dict[str, Any]], status: ItemStatus
) -> dict[str, Any]:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def call_item(
    item_id: str, call_id: str, name: str, arguments: str, status: ItemStatus
) -> dict[str, Any]:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }
