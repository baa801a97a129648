"""The turns of a conversation in OpenAI's words."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

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
from model.text.tools.calls import MAX_DEPTH, too_deep
from service.api.attachments import NO_TEXTS, Texts, text_in
from service.api.document.shapes import Told
from service.api.openai.files import GivenFile
from service.api.parts import MAX_MESSAGE_PARTS
from service.api.tools.offer import MAX_FUNCTIONS
from service.errors import ApiError
from service.files.resolver import Reference

NAME = r"^[a-zA-Z0-9_-]{1,64}$"
"""Of a function."""


class TextPart(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    type: Literal["text"]
    text: str


class FilePart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["file"]
    file: GivenFile


def _known_kind(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in ("text", "input_text", "refusal", "file"):
        raise PydanticCustomError("unsupported_part", "this model takes no parts of type {kind}",
                                  {"kind": repr(kind[:40])})  # fmt: skip
    return part


def _part_tag(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return "<file>" if kind == "file" else "<text>"


KnownPart = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[FilePart, Tag("<file>")],
    Discriminator(_part_tag),
]


def _content_tag(content: Any) -> str:
    return "<parts>" if isinstance(content, list) else "<text>"


Content = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[
        list[Annotated[KnownPart, BeforeValidator(_known_kind)]],
        Field(fail_fast=True, max_length=MAX_MESSAGE_PARTS),
        Tag("<parts>"),
    ],
    Discriminator(_content_tag),
]


def read_arguments(given: Any) -> Any:
    """JSON text of an object; some clients send nothing where a function has no parameters."""
    if not isinstance(given, str):
        raise ValueError("arguments must be the JSON text of an object")
    try:
        read = json.loads(given or "{}")
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise ValueError("arguments must be the JSON text of an object")
    if too_deep(read):
        raise ValueError(f"arguments may be nested {MAX_DEPTH} deep")
    return read


class MadeFunction(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=NAME)
    arguments: Annotated[
        dict[str, Any], BeforeValidator(read_arguments, json_schema_input_type=str)
    ]


class MadeCall(BaseModel):
    """A call that an earlier answer made. index: in calls that clients gathered from a stream."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(min_length=1, max_length=256)
    type: Literal["function"] = "function"
    function: MadeFunction
    index: int | None = None


class Message(Told):
    """One turn. What an assistant's earlier reply carries beside its text is accepted empty, but
    for its calls and its reasoning."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    neutral: ClassVar[Mapping[str, Sequence[Any]]] = {"function_call": ({},), "audio": ({},)}

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = ""
    name: str | None = None
    tool_calls: list[MadeCall] = Field([], max_length=MAX_FUNCTIONS)
    tool_call_id: str | None = Field(None, max_length=256)
    # Present in replies that clients send back as they came.
    refusal: str | None = None
    annotations: list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        role = data.get("role")
        if role == "function":
            raise PydanticCustomError("unsupported_tools", "the role of a call's result is tool")
        if data.get("tool_calls") and role != "assistant":
            raise PydanticCustomError("misplaced_calls", "only an assistant's turn has tool_calls")
        if bool(data.get("tool_call_id")) != (role == "tool"):
            raise PydanticCustomError(
                "misplaced_id", "a turn has a tool_call_id if its role is tool, and only then"
            )
        if data.get("content") is None and role != "assistant":
            raise PydanticCustomError("missing_content", "content is missing")
        empty = ("tool_calls", "function_call", "audio", "tool_call_id")
        return {
            name: value
            for name, value in data.items()
            if value is not None and not (name in empty and not value)
        }

    def references(self) -> list[Reference]:
        parts = [] if isinstance(self.content, str) else self.content
        return [part.file.reference for part in parts if isinstance(part, FilePart)]

    def plain(self, name: str | None = None, texts: Texts = NO_TEXTS) -> ChatMessage:
        """Parts are joined by line breaks, as vLLM does. name: of the function whose result this
        is. texts: of the files. Raises ApiError for a file that is not among them."""
        assistant = self.role == "assistant"
        text = self.content
        if not isinstance(text, str):
            text = "\n".join(
                text_in(texts, part.file.reference) if isinstance(part, FilePart) else part.text
                for part in text
            )
        return ChatMessage(
            role="system" if self.role == "developer" else self.role,
            content=text,
            name=self.name or name,
            tool_calls=tuple(
                CalledFunction(call.function.name, call.function.arguments, call.id)
                for call in self.tool_calls
            ),
            tool_call_id=self.tool_call_id,
            reasoning=(self.reasoning_content or self.reasoning) if assistant else None,
        )


def conversation(messages: Sequence[Message], texts: Texts = NO_TEXTS) -> tuple[ChatMessage, ...]:
    """texts: of the files. Raises ApiError where a result answers no call before it, and for a
    file that is not among the texts."""
    called: dict[str, str] = {}
    turns: list[ChatMessage] = []
    for index, message in enumerate(messages):
        called.update((call.id, call.function.name) for call in message.tool_calls)
        name = None
        if message.tool_call_id is not None:
            name = called.get(message.tool_call_id)
            if name is None:
                raise ApiError(
                    "invalid",
                    "a tool's turn must answer a call of an assistant's turn before it",
                    param=f"messages[{index}].tool_call_id",
                )
        turns.append(message.plain(name, texts))
    return tuple(turns)
