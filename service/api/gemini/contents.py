"""The turns of a conversation in Gemini's words."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from model.text.language import CalledFunction, ChatMessage
from model.text.tools.calls import MAX_DEPTH, too_deep
from service.api.attachments import NO_TEXTS, Texts, joined, text_in
from service.api.gemini.files import Blob, FileData
from service.api.gemini.wire import Neutral, Wire, camel_case
from service.api.parsing import refused
from service.api.parts import MAX_MESSAGE_PARTS, check_parts
from service.files.resolver import Reference

NAME = r"^[a-zA-Z0-9_.-]{1,64}$"
"""Of a function."""

_KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")


class FunctionCall(Wire):
    """A call that an earlier answer made."""

    id: str | None = Field(None, max_length=256)
    name: str = Field(pattern=NAME)
    args: dict[str, Any] = Field({})

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if too_deep(self.args):
            raise refused("args", f"arguments may be nested {MAX_DEPTH} deep")
        return self


class FunctionResponse(Wire):
    """What a called function returned."""

    neutral: ClassVar[Neutral] = {
        "willContinue": (False,),
        "scheduling": ("SCHEDULING_UNSPECIFIED",),
        "parts": ([],),
    }

    id: str | None = Field(None, max_length=256)
    name: str = Field(pattern=NAME)
    response: dict[str, Any] = Field({})


class Part(Wire):
    """A piece of a turn. thought: reasoning sent back, for templates that show it again."""

    ignored = frozenset(("thoughtSignature", "partMetadata"))

    text: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    thought: bool = False
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if isinstance(data, dict) and data:
            names = [camel_case(str(name)) for name in data]
            if not any(kind in names for kind in _KINDS):
                raise PydanticCustomError(
                    "unsupported_part", "this model takes no {kind} parts", {"kind": names[0][:40]}
                )
        return data

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [
            self.text, self.inline_data, self.file_data, self.function_call, self.function_response,
        ]  # fmt: skip
        if sum(kind is not None for kind in given) != 1:
            raise ValueError(f"a part has exactly one of {', '.join(_KINDS)}")
        return self

    @property
    def reference(self) -> Reference | None:
        file = self.inline_data or self.file_data
        return None if file is None else file.reference


def _few_parts(contents: list["Content"]) -> list["Content"]:
    check_parts((content.parts for content in contents), "contents")
    return contents


class Content(Wire):
    """One turn."""

    role: Literal["user", "model", "function", "tool"] | None = None
    parts: Annotated[list[Part], Field(fail_fast=True)] = Field(
        min_length=1, max_length=MAX_MESSAGE_PARTS
    )

    @model_validator(mode="after")
    def _placed(self) -> Self:
        for part in self.parts:
            if self.role != "model" and part.function_call is not None:
                raise refused("parts", "only a model's turn has functionCall parts")
            if self.role == "model" and part.function_response is not None:
                raise refused("parts", "a model's turn has no functionResponse parts")
        return self

    @property
    def text(self) -> str:
        """Raises ApiError where there are files, which `written` takes."""
        return self.written({})

    @property
    def reasoning(self) -> str | None:
        return "".join(part.text for part in self.parts if part.text and part.thought) or None

    def written(self, texts: Texts) -> str:
        """Text parts follow each other as they are; a file's text stands on lines of its own.
        Raises ApiError for a file that was not read."""
        pieces: list[tuple[str, bool]] = []
        for part in self.parts:
            if part.reference is not None:
                pieces.append((text_in(texts, part.reference), True))
            elif part.text and not part.thought:
                pieces.append((part.text, False))
        return joined(pieces)

    def turns(self, texts: Texts = NO_TEXTS) -> Iterator[ChatMessage]:
        """Results of calls each in a turn of its own, before what else the user says."""
        if self.role == "model":
            calls = [part.function_call for part in self.parts if part.function_call is not None]
            made = tuple(CalledFunction(call.name, call.args, call.id) for call in calls)
            yield ChatMessage(
                role="assistant",
                content=self.written(texts),
                tool_calls=made,
                reasoning=self.reasoning,
            )
            return
        results = [part.function_response for part in self.parts if part.function_response]
        for result in results:
            yield ChatMessage(
                role="tool",
                content=json.dumps(result.response, ensure_ascii=False),
                name=result.name,
                tool_call_id=result.id,
            )
        text = self.written(texts)
        if not results or text:
            yield ChatMessage(role="user", content=text)


Contents = Annotated[list[Content], Field(fail_fast=True), AfterValidator(_few_parts)]
"""Of one request."""


def conversation(
    contents: Sequence[Content], system: Content | None, texts: Texts = NO_TEXTS
) -> tuple[ChatMessage, ...]:
    """The instruction's role says "user" on the wire; it is the system's all the same.

    texts: of the files in the contents. Raises ApiError for a file that is not among them.
    """
    turns = [turn for content in contents for turn in content.turns(texts)]
    if system is None:
        return tuple(turns)
    return (ChatMessage(role="system", content=system.text), *turns)
