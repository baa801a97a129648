"""Turns as they are kept between requests, and how they become a prompt."""

import json
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.text.language import CalledFunction, ChatMessage
from model.text.thinking import Thought
from model.text.tools.calls import Call
from service.api.attachments import NO_TEXTS, Texts
from service.api.openai.responses.schemas import MessageItem, ReasoningItem, ResponseRequest
from service.api.openai.responses.tools import FunctionCallItem
from service.api.tools.reading import Said
from service.errors import ApiError


def new_id(prefix: str) -> str:
    """Unguessable: an id is all that a caller needs to read what it names."""
    return f"{prefix}_{secrets.token_hex(24)}"


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody said, with its parts as they were sent."""

    role: str
    texts: tuple[str, ...]
    id: str = field(default_factory=lambda: new_id("msg"))

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        return _size(*self.texts)

    @property
    def text(self) -> str:
        """Parts are joined by line breaks, as chat does."""
        return "\n".join(self.texts)

    def rendered(self) -> dict[str, Any]:
        if self.role == "assistant":
            content = [{"type": "output_text", "text": text, "annotations": []}
                       for text in self.texts]  # fmt: skip
        else:
            content = [{"type": "input_text", "text": text} for text in self.texts]
        return _item(self.id, "message", role=self.role, content=content)


@dataclass(frozen=True, slots=True)
class Reasoned:
    """What the model thought before it went on."""

    text: str
    id: str = field(default_factory=lambda: new_id("rs"))

    @property
    def size(self) -> int:
        return _size(self.text)

    def rendered(self) -> dict[str, Any]:
        content = [{"type": "reasoning_text", "text": self.text}]
        return _item(self.id, "reasoning", summary=[], content=content)


@dataclass(frozen=True, slots=True)
class Called:
    """A call that the model made. arguments: JSON text of an object."""

    name: str
    arguments: str
    call_id: str = field(default_factory=lambda: new_id("call"))
    id: str = field(default_factory=lambda: new_id("fc"))

    @property
    def size(self) -> int:
        return _size(self.name, self.arguments, self.call_id)

    def rendered(self) -> dict[str, Any]:
        return _item(
            self.id,
            "function_call",
            call_id=self.call_id,
            name=self.name,
            arguments=self.arguments,
        )


@dataclass(frozen=True, slots=True)
class Returned:
    """What came of a call."""

    call_id: str
    output: str
    id: str = field(default_factory=lambda: new_id("fco"))

    @property
    def size(self) -> int:
        return _size(self.call_id, self.output)

    def rendered(self) -> dict[str, Any]:
        return _item(self.id, "function_call_output", call_id=self.call_id, output=self.output)


Item = Message | Reasoned | Called | Returned


def items_of(body: ResponseRequest, texts: Texts = NO_TEXTS) -> tuple[Item, ...]:
    """texts: of the files, which are kept as what was read in them. Raises ApiError."""
    return tuple(_items_of(body, texts))


def _items_of(body: ResponseRequest, texts: Texts) -> Iterator[Item]:
    for item in body.items:
        if isinstance(item, MessageItem):
            yield Message(role=item.role, texts=item.written(texts))
        elif isinstance(item, ReasoningItem):
            if item.text:
                yield Reasoned(item.text)
        elif isinstance(item, FunctionCallItem):
            arguments = json.dumps(item.arguments, ensure_ascii=False)
            yield Called(item.name, arguments, item.call_id)
        else:
            yield Returned(item.call_id, item.text)


def output_of(said: Iterable[Said]) -> list[Item]:
    """The items of an answer; pieces of the same kind that follow one another are one."""
    items: list[Item] = []
    for piece in said:
        last = items[-1] if items else None
        match piece:
            case Thought(text):
                before = last.text if isinstance(last, Reasoned) else ""
                new: Item = Reasoned(before + text)
            case Call(name, arguments):
                new = Called(name, arguments)
            case _:
                before = last.text if isinstance(last, Message) else ""
                new = Message("assistant", (before + piece,))
        if type(new) is type(last) and not isinstance(new, Called):
            items.pop()
        items.append(new)
    return items


def messages_of(instructions: str | None, items: Sequence[Item]) -> tuple[ChatMessage, ...]:
    """Instructions come first, and only those of this request: earlier ones are not carried on.
    What an assistant thought, said and called in a row is one turn of its.

    Raises ApiError where a result answers no call before it.
    """
    turns = [] if instructions is None else [ChatMessage(role="system", content=instructions)]
    called: dict[str, str] = {}
    open_turn: ChatMessage | None = None
    for item in items:
        if isinstance(item, Called):
            called[item.call_id] = item.name
        more = _of_assistant(item)
        if more is None:
            turns += [open_turn] if open_turn is not None else []
            turns.append(_turn(item, called))
            open_turn = None
        elif open_turn is None or (more.content and (open_turn.content or open_turn.tool_calls)):
            turns += [open_turn] if open_turn is not None else []
            open_turn = more
        else:
            open_turn = _joined(open_turn, more)
    return (*turns, *([open_turn] if open_turn is not None else []))


def _of_assistant(item: Item) -> ChatMessage | None:
    match item:
        case Message(role="assistant"):
            return ChatMessage(role="assistant", content=item.text)
        case Reasoned(text):
            return ChatMessage(role="assistant", content="", reasoning=text)
        case Called():
            call = CalledFunction(item.name, json.loads(item.arguments), item.call_id)
            return ChatMessage(role="assistant", content="", tool_calls=(call,))
    return None


def _joined(turn: ChatMessage, more: ChatMessage) -> ChatMessage:
    reasoning = [text for text in (turn.reasoning, more.reasoning) if text is not None]
    return ChatMessage(
        role="assistant",
        content=turn.content + more.content,
        tool_calls=(*turn.tool_calls, *more.tool_calls),
        reasoning="\n".join(reasoning) if reasoning else None,
    )


def _turn(item: Item, called: dict[str, str]) -> ChatMessage:
    """Of anybody but the assistant."""
    if isinstance(item, Returned):
        name = called.get(item.call_id)
        if name is None:
            raise ApiError(
                "invalid",
                f"no function_call with call_id {item.call_id[:64]!r} is before its output",
                param="input",
            )
        return ChatMessage(role="tool", content=item.output, name=name, tool_call_id=item.call_id)
    assert isinstance(item, Message)
    role = "system" if item.role == "developer" else item.role
    return ChatMessage(role=role, content=item.text)


def _size(*texts: str) -> int:
    return 256 + sum(sys.getsizeof(text) for text in texts)


def _item(item_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "type": kind, "status": "completed", **fields}
