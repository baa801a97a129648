"""Functions in the words of the Responses API: flat where chat nests them; calls and their results
are items."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
)
from pydantic_core import PydanticCustomError

from model.text.tools.calls import MAX_CALLS
from service.api.openai.given import Given
from service.api.openai.messages import NAME, read_arguments
from service.api.openai.tools import FunctionDefinition
from service.api.parts import MAX_MESSAGE_PARTS
from service.api.tools.offer import MAX_FUNCTIONS, Offer, make_offer
from service.errors import ApiError


class Tool(Given, FunctionDefinition):
    """What a function returns is the caller's affair: nothing here reads it."""

    ignored = frozenset(("output_schema",))
    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        "async": (False,),
        "defer_loading": (False,),
        "allowed_callers": ([], ["direct"]),
    }

    type: Literal["function"]

    def echo(self) -> dict[str, Any]:
        """As a response repeats it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": bool(self.strict),
        }


def _only_functions(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise PydanticCustomError("unsupported_tool", "tools of type {kind} are not supported here",
                                  {"kind": repr(kind[:40])})  # fmt: skip
    return tool


Tools = Annotated[
    list[Annotated[Tool, BeforeValidator(_only_functions)]], Field(max_length=MAX_FUNCTIONS)
]


class NamedFunction(Given):
    type: Literal["function"]
    name: str

    def echo(self) -> dict[str, Any]:
        return self.model_dump()


class AllowedTools(Given):
    """All are shown to the model; these may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedFunction] = Field(min_length=1, max_length=MAX_FUNCTIONS)

    def echo(self) -> dict[str, Any]:
        return self.model_dump()


def _choice_tag(given: Any) -> str:
    if isinstance(given, str):
        return "<word>"
    kind = given.get("type") if isinstance(given, dict) else getattr(given, "type", None)
    return "<allowed>" if kind == "allowed_tools" else "<named>"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")]
    | Annotated[NamedFunction, Tag("<named>")]
    | Annotated[AllowedTools, Tag("<allowed>")],
    Discriminator(_choice_tag),
]


def offer_of(
    tools: Sequence[Tool], choice: str | NamedFunction | AllowedTools, parallel: bool
) -> Offer | None:
    """What the model is shown; None without tools, and with the choice "none". Raises ApiError."""
    if not tools:
        if choice in ("none", "auto"):
            return None
        raise ApiError("invalid", "tool_choice needs tools", param="tool_choice")
    named: tuple[str, ...] = ()
    must_call, most = choice == "required", MAX_CALLS if parallel else 1
    match choice:
        case NamedFunction(name=name):
            named, must_call, most = (name,), True, 1
        case AllowedTools(mode=mode, tools=allowed):
            named, must_call = tuple(tool.name for tool in allowed), mode == "required"
    offer = make_offer(
        [tool.offered() for tool in tools], only=named, must_call=must_call, most=most
    )
    return None if choice == "none" else offer


class FunctionCallItem(Given):
    """A call that an earlier answer made, as it came."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1, max_length=256)
    name: str = Field(pattern=NAME)
    arguments: Annotated[
        dict[str, Any], BeforeValidator(read_arguments, json_schema_input_type=str)
    ]
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class ResultText(Given):
    type: Literal["input_text"]
    text: str


def _result_tag(given: Any) -> str:
    return "<list>" if isinstance(given, list) else "<text>"


class FunctionCallOutputItem(Given):
    """What a called function returned."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1, max_length=256)
    output: Annotated[
        Annotated[str, Tag("<text>")]
        | Annotated[list[ResultText], Field(max_length=MAX_MESSAGE_PARTS), Tag("<list>")],
        Discriminator(_result_tag),
    ]
    id: str | None = None
    name: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.output, str):
            return self.output
        return "\n".join(part.text for part in self.output)
