"""What Gemini's clients send, in either casing at every level, and how it becomes an `Ask`."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from model.contract import MAX_LOGPROBS, MAX_STOP_STRINGS, Constraint
from routing.policy import RoutingPolicy
from service.api.attachments import NO_TEXTS, Texts
from service.api.gemini.contents import Content, Contents, conversation
from service.api.gemini.files import references_in
from service.api.gemini.structured import form_of
from service.api.gemini.tools import Tool, ToolConfig, offer_of
from service.api.gemini.wire import Integer, Neutral, Number, Wire
from service.api.internal import Chat, Sampling
from service.api.parsing import refused
from service.api.thinking.wish import Effort, Wish
from service.caches.prefix import continued
from service.caches.store import Cached
from service.files.resolver import Reference

_LEVELS: dict[str, Effort] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}


class ThinkingConfig(Wire):
    """thinking_budget: tokens; 0 is none, -1 as the model likes."""

    thinking_budget: Integer | None = Field(None, ge=-1, le=2**31 - 1)
    thinking_level: (
        Literal["THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"] | None
    ) = None
    include_thoughts: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.thinking_budget is not None and self.thinking_level is not None:
            raise refused("thinkingLevel", "give thinkingBudget or thinkingLevel")
        return self

    def wish(self) -> Wish:
        named = "thinkingBudget" if self.thinking_level is None else "thinkingLevel"
        return Wish(
            effort=_LEVELS.get(self.thinking_level or ""),
            budget=None if self.thinking_budget == -1 else self.thinking_budget,
            show=self.include_thoughts,
            show_vote=self.include_thoughts,
            param=f"generationConfig.thinkingConfig.{named}",
        )


class GenerationConfig(Wire):
    neutral: ClassVar[Neutral] = {
        "responseModalities": (["TEXT"], []),
        "speechConfig": (),
        "mediaResolution": ("MEDIA_RESOLUTION_UNSPECIFIED",),
        "audioTimestamp": (False,),
        "enableAffectiveDialog": (False,),
        "routingConfig": (),
        "modelSelectionConfig": (),
        "imageConfig": (),
    }

    temperature: Number | None = Field(None, ge=0, le=2)
    top_p: Number | None = Field(None, gt=0, le=1)
    top_k: Number = Field(0, ge=0, le=2**31 - 1)
    candidate_count: Integer = 1
    max_output_tokens: Integer | None = Field(None, ge=1)
    stop_sequences: list[str] = Field([], max_length=MAX_STOP_STRINGS)
    seed: Integer | None = None
    response_logprobs: bool = False
    logprobs: Integer | None = Field(None, ge=0, le=MAX_LOGPROBS)
    presence_penalty: Number = Field(0.0, ge=-2, le=2)
    frequency_penalty: Number = Field(0.0, ge=-2, le=2)
    thinking_config: ThinkingConfig = Field(
        default_factory=lambda: ThinkingConfig.model_validate({})
    )
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
    neutral: ClassVar[Neutral] = {
        "serviceTier": ("standard",),
    }

    contents: Contents = Field(min_length=1)
    system_instruction: Content | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True)] = Field([])
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig = Field(
        default_factory=lambda: GenerationConfig.model_validate({})
    )
    cached_content: str | None = Field(None, max_length=128)
    uncertainty_routing: RoutingPolicy | None = None

    @model_validator(mode="after")
    def _begun_once(self) -> Self:
        own = self.system_instruction or self.tools or self.tool_config
        if self.cached_content and own:
            raise refused(
                "cachedContent",
                "CachedContent can not be used with GenerateContent request setting "
                "system_instruction, tools or tool_config.",
            )
        return self

    def references(self) -> list[Reference]:
        return references_in(self.contents)

    def chat(self, texts: Texts = NO_TEXTS, cached: Cached | None = None) -> Chat:
        """texts: of the files. cached: what `cached_content` names. Raises ApiError."""
        messages = conversation(self.contents, self.system_instruction, texts)
        if cached is not None:
            return Chat(continued(cached.messages, messages), tools=cached.chat.tools)
        return Chat(messages, tools=offer_of(self.tools, self.tool_config))


class CountTokensRequest(Wire):
    """Either the contents, or the whole request that they would be sent with."""

    ignored = frozenset(("model",))
    contents: Contents = Field([])
    system_instruction: Content | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True)] = Field([])
    generation_config: GenerationConfig | None = None
    generate_content_request: GenerateRequest | None = None

    def references(self) -> list[Reference]:
        whole = self.generate_content_request
        return references_in(self.contents) if whole is None else whole.references()

    @property
    def cached_content(self) -> str | None:
        whole = self.generate_content_request
        return None if whole is None else whole.cached_content

    def chat(self, texts: Texts = NO_TEXTS, cached: Cached | None = None) -> Chat:
        """texts: of the files. cached: what `cached_content` names. Raises ApiError."""
        if self.generate_content_request is not None:
            return self.generate_content_request.chat(texts, cached)
        messages = conversation(self.contents, self.system_instruction, texts)
        return Chat(messages, tools=offer_of(self.tools, None))
