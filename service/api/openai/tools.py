"""`tools` and `tool_choice` in OpenAI's words, and calls in its answers."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from model.contract import PathOutput
from model.text.tools.calls import MAX_CALLS, Call
from service.api.openai.messages import NAME
from service.api.tools.offer import NO_PARAMETERS, Function, Offer, make_offer
from service.api.tools.reading import Reader
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
        said = self._reader.push(event.text)
        if event.finish is not None:
            said += self._reader.finish()
        return [
            {"content": piece} if isinstance(piece, str) else self._called(piece) for piece in said
        ]

    def finish_reason(self, event: PathOutput) -> str | None:
        reason = event.finish.reason if event.finish else None
        return finish_reason(reason, self._calls > 0)

    def _called(self, call: Call) -> dict[str, Any]:
        index = self._calls
        self._calls += 1
        return {"tool_calls": [{"index": index, **call_object(call)}]}
