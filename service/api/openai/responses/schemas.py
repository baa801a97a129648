"""What clients of the Responses API send: items, not messages, and other names for the same."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from model.contract import MAX_LOGPROBS, Constraint
from service.api.attachments import Texts, text_in
from service.api.openai.files import GivenFile
from service.api.openai.given import Given
from service.api.openai.responses.tools import (
    FunctionCallItem,
    FunctionCallOutputItem,
    ToolChoice,
    Tools,
    offer_of,
)
from service.api.openai.sampling_fields import Integer
from service.api.openai.thinking import ThinkingFields
from service.api.parsing import drop_neutral, refused
from service.api.parts import MAX_MESSAGE_PARTS, check_parts
from service.api.structured import ANY_OBJECT, json_form
from service.api.thinking.wish import Effort
from service.api.tools.offer import Offer
from service.files.resolver import Reference

MAX_ITEMS = 1024
"""Of one request. How many messages a conversation may have is a setting of its own."""
MAX_METADATA = 16
"""Pairs; OpenAI's own bound, as are the lengths of keys and values."""

LOGPROBS = "message.output_text.logprobs"

# They name the caller, tune caches, or bound tools that are not there: no answer depends on them.
IGNORED = frozenset(
    (
        "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "max_tool_calls", "priority", "request_id",
    )
)  # fmt: skip

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "max_tokens": (),
    "background": (False,),
    "background_options": ({},),
    "truncation": ("disabled",),
    "service_tier": ("auto", "default"),
    "prompt": (),
    "conversation": (),
    "context_management": ([],),
    "prompt_cache_options": ({}, {"mode": "implicit"}),
    "image": ({},),
    "moderation": (),
    "access_programs": ({},),
}


def _only(*values: Any) -> BeforeValidator:
    """A field that asks for nothing with these values, and is refused with any other."""

    def check(given: Any) -> Any:
        if given is not None and given not in values:
            raise PydanticCustomError("unsupported_parameter", "not supported here")
        return given

    return BeforeValidator(check, json_schema_input_type=Literal[*values, None])


def _known_kind(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in ("input_text", "output_text", "input_file"):
        raise PydanticCustomError("unsupported_part", "this model takes no parts of type {kind}",
                                  {"kind": repr(kind[:40])})  # fmt: skip
    return part


class TextPart(Given):
    """What an earlier output's text carries beside it is accepted and changes nothing."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] = Field([])
    logprobs: list[Any] = Field([])
    parsed: Any = None
    prompt_cache_breakpoint: Any = None


class FilePart(GivenFile):
    """How closely it would be looked at changes nothing: it is text."""

    type: Literal["input_file"]
    detail: str | None = None
    prompt_cache_breakpoint: Any = None


def _part_tag(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return "<file>" if kind == "input_file" else "<text>"


KnownPart = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[FilePart, Tag("<file>")],
    Discriminator(_part_tag),
]


def _written_tag(given: Any) -> str:
    return "<list>" if isinstance(given, list) else "<text>"


Content = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[
        list[Annotated[KnownPart, BeforeValidator(_known_kind)]],
        Field(min_length=1, max_length=MAX_MESSAGE_PARTS),
        Tag("<list>"),
    ],
    Discriminator(_written_tag),
]


class MessageItem(Given):
    """One turn. `id`, `status` and `phase` are of items that came from an earlier response."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: Literal["commentary", "final_answer"] | None = None

    def references(self) -> list[Reference]:
        parts = [] if isinstance(self.content, str) else self.content
        return [part.reference for part in parts if isinstance(part, FilePart)]

    def written(self, texts: Texts) -> tuple[str, ...]:
        """Its parts. texts: of the files. Raises ApiError for one that is not among them."""
        if isinstance(self.content, str):
            return (self.content,)
        return tuple(
            text_in(texts, part.reference) if isinstance(part, FilePart) else part.text
            for part in self.content
        )


class ReasoningText(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    text: str = ""


class ReasoningItem(BaseModel):
    """Sent back by clients that keep the conversation themselves; shown again if the chat template
    wants it. Summaries and what others encrypted are not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["reasoning"]
    content: list[ReasoningText] | None = Field(None, max_length=MAX_MESSAGE_PARTS)

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.content or [] if part.text)


def _known_item(item: Any) -> Any:
    kind = item.get("type") if isinstance(item, dict) else None
    if isinstance(kind, str) and kind not in _ITEMS:
        raise PydanticCustomError("unsupported_item", "items of type {kind} are not supported here",
                                  {"kind": repr(kind[:40])})  # fmt: skip
    return item


_ITEMS = ("message", "reasoning", "function_call", "function_call_output")


def _item_tag(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return f"<{kind}>" if kind in _ITEMS else "<message>"


InputItem = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[FunctionCallOutputItem, Tag("<function_call_output>")],
    Discriminator(_item_tag),
]

Input = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[
        list[Annotated[InputItem, BeforeValidator(_known_item)]],
        Field(min_length=1, max_length=MAX_ITEMS),
        Tag("<list>"),
    ],
    Discriminator(_written_tag),
]


class TextFormat(Given):
    """As `response_format` of chat, but flat. strict is always honoured."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Annotated[str, StringConstraints(max_length=256)] | None = None
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise refused("schema", "a schema goes with the type json_schema, and only so")
        return self

    def form(self) -> Constraint | None:
        """Raises InvalidParameter."""
        if self.type == "text":
            return None
        return json_form(ANY_OBJECT if self.json_schema is None else self.json_schema)

    def echo(self) -> dict[str, Any]:
        """As a response repeats it."""
        if self.type != "json_schema":
            return {"type": self.type}
        return {
            "type": self.type,
            "name": self.name or "schema",
            "description": self.description,
            "schema": self.json_schema,
            "strict": True,
        }


class TextConfig(Given):
    format: TextFormat = Field(default_factory=lambda: TextFormat.model_validate({}))
    verbosity: Annotated[str | None, _only("medium")] = None


class Reasoning(Given):
    """It is told as it is, and not summed up."""

    effort: Effort | None = None
    summary: Annotated[str | None, _only("auto")] = None
    generate_summary: Annotated[str | None, _only("auto")] = None
    context: Annotated[str | None, _only("auto")] = None
    mode: Annotated[str | None, _only("standard")] = None


Includable = Literal[
    "message.output_text.logprobs",
    # Of tools, images and reasoning items, none of which a response here has.
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
]

Include = Annotated[list[Includable], Field(max_length=16)]

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=MAX_METADATA),
]


def _parts_of(item: InputItem) -> str | Sequence[Any]:
    if isinstance(item, FunctionCallItem):
        return ""
    return item.output if isinstance(item, FunctionCallOutputItem) else item.content or ()


class ResponseRequest(ThinkingFields):
    """Sampling is chat's, with vLLM's extensions; `max_tokens` has the name `max_output_tokens`."""

    ignored = IGNORED
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = NEUTRAL

    input: Input
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool = True
    max_output_tokens: Integer | None = Field(None, ge=1)
    include: Include = Field([])
    top_logprobs: Integer = Field(0, ge=0, le=MAX_LOGPROBS)
    text: TextConfig = TextConfig()
    reasoning: Reasoning = Reasoning()
    metadata: Metadata = Field({})
    tools: Tools = Field([])
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise refused("top_logprobs", f'top_logprobs needs include: ["{LOGPROBS}"]')
        if all(isinstance(item, ReasoningItem) for item in self.items):
            raise refused("input", "the input needs at least one message")
        check_parts((_parts_of(item) for item in self.items), "input")
        return self

    def form(self) -> Constraint | None:
        return self.text.format.form()

    @property
    def logprobs(self) -> bool:
        return LOGPROBS in self.include

    @property
    def items(self) -> Sequence[InputItem]:
        if isinstance(self.input, str):
            return [MessageItem(role="user", content=self.input)]
        return self.input

    def offer(self) -> Offer | None:
        """The functions that the model may call. Raises ApiError."""
        return offer_of(self.tools, self.tool_choice, self.parallel_tool_calls)

    def tool_choice_echo(self) -> Any:
        """As a response repeats it."""
        return self.tool_choice if isinstance(self.tool_choice, str) else self.tool_choice.echo()


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    include: Include = []

    @property
    def logprobs(self) -> bool:
        return LOGPROBS in self.include


class RetrieveQuery(_Query):
    """Of GET /responses/{id}. A stream that is over is not played again."""

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, data: Any) -> Any:
        ignored = frozenset(("include_obfuscation",))
        return drop_neutral(data, ignored, {"stream": ("false",), "starting_after": ()})


class ItemsQuery(_Query):
    """Of GET /responses/{id}/input_items. after: the id of the last item already seen."""

    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
