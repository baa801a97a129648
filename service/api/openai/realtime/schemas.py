"""What clients of the Realtime API send: one object per event."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from routing.policy import RoutingPolicy
from service.api.openai.messages import NAME
from service.api.openai.realtime.items import Item, MessageItem, RealtimeObject
from service.api.openai.responses.schemas import Metadata
from service.api.openai.sampling_fields import Integer
from service.api.openai.tools import (
    FunctionDefinition,
    NamedChoice,
    NamedFunction,
    Tool,
    offer_of,
)
from service.api.parsing import drop_neutral
from service.api.parts import check_parts
from service.api.thinking.wish import Effort, Wish
from service.api.tools.offer import MAX_FUNCTIONS, Offer

NO_SPEECH = 'this model speaks no audio: output_modalities must be ["text"]'
MAX_ITEMS = 512
"""Of one response's own input."""

IGNORED = frozenset(("audio", "include", "tracing", "turn_detection"))
"""How audio is heard and spoken, and where OpenAI keeps its traces: no answer depends on them."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "prompt": (),
    "truncation": ("disabled",),
}


class RealtimeTool(FunctionDefinition):
    type: Literal["function"]

    def as_chats(self) -> Tool:
        given = self.model_dump(exclude={"type"})
        return Tool(type="function", function=FunctionDefinition(**given))


class ChosenFunction(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["function"]
    name: str = Field(pattern=NAME)


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")]
    | Annotated[ChosenFunction, Tag("<named>")],
    Discriminator(lambda given: "<word>" if isinstance(given, str) else "<named>"),
]


class Reasoning(RealtimeObject):
    effort: Effort | None = None


class Wishes(RealtimeObject):
    """What a session and one of its responses may both say about answers."""

    ignored: ClassVar[frozenset[str]] = IGNORED
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = NEUTRAL

    instructions: str | None = None
    output_modalities: list[str] = Field(["text"], max_length=2)
    tools: list[RealtimeTool] = Field([], max_length=MAX_FUNCTIONS)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    max_output_tokens: Annotated[Integer, Field(ge=1)] | Literal["inf"] = "inf"
    reasoning: Reasoning = Reasoning()
    # ours
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: Integer | None = None
    uncertainty_routing: RoutingPolicy | None = None

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, data: Any) -> Any:
        return drop_neutral(data, cls.ignored, cls.neutral)

    @field_validator("output_modalities")
    @classmethod
    def _text_only(cls, given: list[str]) -> list[str]:
        if given != ["text"]:
            raise PydanticCustomError("refused", "{message}", {"message": NO_SPEECH})
        return given

    @property
    def max_tokens(self) -> int | None:
        return None if self.max_output_tokens == "inf" else self.max_output_tokens

    def wish(self) -> Wish:
        """Reasoning is done and counted; no event of this protocol would carry it. Raises
        ApiError."""
        return Wish(effort=self.reasoning.effort, show=False, param="reasoning.effort")

    def offer(self) -> Offer | None:
        """The functions that the model may call. Raises ApiError."""
        choice: str | NamedChoice
        if isinstance(self.tool_choice, ChosenFunction):
            choice = NamedChoice(function=NamedFunction(name=self.tool_choice.name))
        else:
            choice = self.tool_choice
        return offer_of([tool.as_chats() for tool in self.tools], choice, self.parallel_tool_calls)


class SessionConfig(Wishes):
    """model: it was chosen when the socket was opened."""

    type: Literal["realtime"] = "realtime"
    model: str | None = None


class ResponseConfig(Wishes):
    """input: what is answered, in place of the conversation. conversation: "none" leaves the
    answer out of it."""

    conversation: Literal["auto", "none"] = "auto"
    input: list[Item] | None = Field(None, max_length=MAX_ITEMS)
    metadata: Metadata = Field({})

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        items = self.input or ()
        check_parts((item.content for item in items if isinstance(item, MessageItem)), "input")
        return self


class Event(RealtimeObject):
    type: str
    event_id: str | None = Field(None, max_length=512)


class SessionUpdate(Event):
    session: SessionConfig


def _own_item(item: Any) -> Any:
    if isinstance(item, dict) and item.get("type") == "item_reference":
        raise PydanticCustomError("unsupported_item", "an item_reference creates no item")
    return item


class ItemCreate(Event):
    """previous_item_id: "root" for the beginning; left out for the end."""

    item: Annotated[Item, BeforeValidator(_own_item)]
    previous_item_id: str | None = None


class ItemEvent(Event):
    """item_id: of the item that is read or deleted."""

    item_id: str


class ResponseCreate(Event):
    response: ResponseConfig = Field(default_factory=lambda: ResponseConfig.model_validate({}))


class ResponseCancel(Event):
    response_id: str | None = None


EVENTS: dict[str, type[Event]] = {
    "session.update": SessionUpdate,
    "conversation.item.create": ItemCreate,
    "conversation.item.retrieve": ItemEvent,
    "conversation.item.delete": ItemEvent,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}

NO_AUDIO = "this model reads no audio"

REFUSED: dict[str, str] = {
    "input_audio_buffer.append": NO_AUDIO,
    "input_audio_buffer.commit": NO_AUDIO,
    "input_audio_buffer.clear": NO_AUDIO,
    "output_audio_buffer.clear": "this model speaks no audio",
    "conversation.item.truncate": "only audio is truncated, and this model speaks none",
    "transcription_session.update": NO_AUDIO,
}
"""Events of OpenAI's that nothing here can serve, and why."""
