"""`tools` and `tool_choice` in OpenAI's words, and calls in its answers."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from model.contract import PathOutput
from model.text.thinking import Thought
from model.text.tools.calls import MAX_CALLS, Call
from service.api.openai.messages import NAME
from service.api.openai.rendering import reasoning_fields
from service.api.tools.offer import NO_PARAMETERS, Function, Offer, make_offer
from service.api.tools.reading import Reader, Said, heard
from service.errors import ApiError


class FunctionDefinition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def offered(self) -> Function:
        parameters = self.parameters or NO_PARAMETERS
        return Function(self.name, self.description, parameters, bool(self.strict))


class Tool(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str


class NamedChoice(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Literal["function"] = "function"
    function: NamedFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")]
    | Annotated[NamedChoice, Tag("<named>")],
    Discriminator(lambda given: "<word>" if isinstance(given, str) else "<named>"),
]


def offer_of(
    tools: Sequence[Tool], choice: str | NamedChoice | None, parallel: bool
) -> Offer | None:
    """What the model is shown; None without tools, and with the choice "none". Raises ApiError."""
    if not tools:
        if choice in (None, "none", "auto"):
            return None
        raise ApiError("invalid", "tool_choice needs tools", param="tool_choice")
    named = (choice.function.name,) if isinstance(choice, NamedChoice) else ()
    offer = make_offer(
        [tool.function.offered() for tool in tools],
        only=named,
        must_call=bool(named) or choice == "required",
        most=1 if named or not parallel else MAX_CALLS,
    )
    return None if choice == "none" else offer


def call_object(call: Call) -> dict[str, Any]:
    return {
        "id": f"call_{uuid.uuid4().hex}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def finish_reason(finish: str | None, called: bool) -> str | None:
    return "tool_calls" if called and finish == "stop" else finish


class ChoiceStream:
    """One choice of a stream, as the deltas of its message."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._calls = 0

    def deltas(self, event: PathOutput) -> list[dict[str, Any]]:
        return [self._delta(piece) for piece in heard(self._reader, event)]

    def finish_reason(self, event: PathOutput) -> str | None:
        reason = event.finish.reason if event.finish else None
        return finish_reason(reason, self._calls > 0)

    def _delta(self, piece: Said) -> dict[str, Any]:
        match piece:
            case Thought(text):
                return reasoning_fields(text)
            case Call():
                return self._called(piece)
        return {"content": piece}

    def _called(self, call: Call) -> dict[str, Any]:
        index = self._calls
        self._calls += 1
        return {"tool_calls": [{"index": index, **call_object(call)}]}
