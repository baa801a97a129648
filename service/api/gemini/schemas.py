"""What Gemini's clients send, in either casing at every level, and how it becomes an `Ask`."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from model.contract import MAX_LOGPROBS, MAX_STOP_STRINGS, Constraint
from model.text.language import ChatMessage
from routing.policy import RoutingPolicy
from service.api.gemini.structured import form_of
from service.api.internal import Sampling
from service.api.parsing import drop_neutral, refused


class Wire(BaseModel):
    """Base of all: snake_case keys become camelCase ones, null is absent, unknown is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    ignored: ClassVar[frozenset[str]] = frozenset()
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _normal(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        present: dict[str, Any] = {}
        for name, value in data.items():
            camel = _camel(name)
            if camel in present:
                raise refused(camel, f"{camel} is given twice, in both spellings")
            if value is not None:
                present[camel] = value
        return drop_neutral(present, cls.ignored, cls.neutral)


def _camel(name: str) -> str:
    return to_camel(name) if "_" in name else name


class Part(Wire):
    """A piece of a turn; only text here. thought: reasoning sent back, which is not fed again."""

    ignored = frozenset(("thoughtSignature", "partMetadata"))

    text: str
    thought: bool = False

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and "text" not in data and data:
            kind = _camel(str(next(iter(data))))[:40]
            raise PydanticCustomError(
                "unsupported_part", "this model takes no {kind} parts", {"kind": kind}
            )
        return data


class Content(Wire):
    """One turn."""

    role: Literal["user", "model"] | None = None
    parts: list[Part] = Field(min_length=1)

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if not part.thought)


class ThinkingConfig(Wire):
    """There is no thinking to turn on: budgets of none (0) or any (-1) are all it takes."""

    thinking_budget: Literal[0, -1] = 0
    include_thoughts: Literal[False] = False


class GenerationConfig(Wire):
    neutral = {
        "responseModalities": (["TEXT"], []),
        "speechConfig": (),
        "mediaResolution": ("MEDIA_RESOLUTION_UNSPECIFIED",),
        "audioTimestamp": (False,),
        "enableAffectiveDialog": (False,),
        "routingConfig": (),
        "modelSelectionConfig": (),
        "imageConfig": (),
    }

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: float = Field(0, ge=0, le=2**31 - 1)
    candidate_count: int = 1
    max_output_tokens: int | None = Field(None, ge=1)
    stop_sequences: list[str] = Field([], max_length=MAX_STOP_STRINGS)
    seed: int | None = None
    response_logprobs: bool = False
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    thinking_config: ThinkingConfig | None = None
    response_mime_type: Literal["text/plain", "application/json", "text/x.enum"] = "text/plain"
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    _form: Constraint | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.logprobs is not None and not self.response_logprobs:
            raise refused("logprobs", "logprobs needs responseLogprobs to be true")
        given = self.model_fields_set & {"response_schema", "response_json_schema"}
        if len(given) == 2:
            raise refused("responseJsonSchema", "give responseSchema or responseJsonSchema")
        if given and self.response_mime_type == "text/plain":
            raise refused("responseMimeType", "a schema needs responseMimeType application/json")
        # Once, and here: what is wrong in a schema is told like any other mistake.
        self._form = form_of(
            self.response_mime_type, self.response_schema, self.response_json_schema
        )
        return self

    def sampling(self) -> Sampling:
        return Sampling(
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_k=int(self.top_k),
            top_p=self.top_p,
            seed=self.seed,
            stop=tuple(self.stop_sequences),
            logprobs=(self.logprobs or 0) if self.response_logprobs else None,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            constraint=self._form,
        )


class GenerateRequest(Wire):
    """safetySettings are taken and not applied: nothing here classifies content."""

    ignored = frozenset(("safetySettings", "labels", "model"))
    neutral = {
        "tools": ([],),
        "toolConfig": ({},),
        "cachedContent": ("",),
        "serviceTier": ("standard",),
    }

    contents: list[Content] = Field(min_length=1)
    system_instruction: Content | None = None
    generation_config: GenerationConfig = Field(
        default_factory=lambda: GenerationConfig.model_validate({})
    )
    uncertainty_routing: RoutingPolicy | None = None

    def messages(self) -> tuple[ChatMessage, ...]:
        """The instruction's role says "user" on the wire; it is the system's all the same."""
        turns = [
            ChatMessage(
                role="assistant" if content.role == "model" else "user", content=content.text
            )
            for content in self.contents
        ]
        if self.system_instruction is None:
            return tuple(turns)
        system = ChatMessage(role="system", content=self.system_instruction.text)
        return (system, *turns)


class CountTokensRequest(Wire):
    """Either the contents, or the whole request that they would be sent with."""

    ignored = frozenset(("model",))
    neutral = {"tools": ([],)}

    contents: list[Content] = []
    system_instruction: Content | None = None
    generation_config: GenerationConfig | None = None
    generate_content_request: GenerateRequest | None = None

    def messages(self) -> tuple[ChatMessage, ...]:
        if self.generate_content_request is not None:
            return self.generate_content_request.messages()
        request = GenerateRequest.model_construct(
            contents=self.contents, system_instruction=self.system_instruction
        )
        return request.messages()
