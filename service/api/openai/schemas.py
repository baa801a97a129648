"""What OpenAI's clients send, with vLLM's extensions, and how it becomes an `Ask`."""

from typing import Annotated, Any, Literal, Self

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

from model.contract import (
    MAX_LOGIT_BIAS,
    MAX_LOGPROBS,
    MAX_REPETITION_PENALTY,
    MAX_STOP_IDS,
    MAX_STOP_STRINGS,
)
from model.text.language import ChatMessage
from routing.policy import RoutingPolicy
from service.api.internal import Sampling
from service.api.parsing import drop_neutral, refused

# They name the caller, group its traffic or tune caches: no answer depends on them.
IGNORED = frozenset(
    (
        "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "parallel_tool_calls", "priority", "request_id",
    )
)  # fmt: skip

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "length_penalty": (1,),
    "use_beam_search": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
}


def _no_boolean(given: Any) -> Any:
    """pydantic reads true as 1, and a token limit of `true` is a mistake."""
    if isinstance(given, bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return given


Integer = Annotated[int, BeforeValidator(_no_boolean)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool | None = None


def _none_is_default(data: Any) -> Any:
    """A null is a field that was left out: OpenAI's clients send both."""
    if isinstance(data, dict):
        return {name: value for name, value in data.items() if value is not None}
    return data


class SamplingFields(BaseModel):
    """What chat and completions have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    n: Integer = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Integer | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: Integer | None = None
    stop: Annotated[
        list[str],
        BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
        Field(max_length=MAX_STOP_STRINGS),
    ] = []
    logit_bias: dict[int, float] = Field({}, max_length=MAX_LOGIT_BIAS)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    # vLLM's extensions
    top_k: Integer = Field(0, ge=-1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0, le=MAX_REPETITION_PENALTY)
    ignore_eos: bool = False
    min_tokens: Integer = Field(0, ge=0)
    stop_token_ids: list[Integer] = Field([], max_length=MAX_STOP_IDS)
    # ours
    uncertainty_routing: RoutingPolicy | None = None

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, data: Any) -> Any:
        return _none_is_default(drop_neutral(data, IGNORED, NEUTRAL))

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, *, max_tokens: int | None, logprobs: int | None) -> Sampling:
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_k=max(self.top_k, 0),
            top_p=self.top_p,
            min_p=self.min_p,
            seed=self.seed,
            min_tokens=self.min_tokens,
            stop=tuple(self.stop),
            stop_ids=tuple(self.stop_token_ids),
            ignore_eos=self.ignore_eos,
            logprobs=logprobs,
            logit_bias=tuple(self.logit_bias.items()),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
        )


class TextPart(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["text"]
    text: str


def _only_text(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in ("text", "input_text", "refusal"):
        raise PydanticCustomError("unsupported_part", "this model takes no parts of type {kind}",
                                  {"kind": repr(kind[:40])})  # fmt: skip
    return part


def _content_tag(content: Any) -> str:
    return "<parts>" if isinstance(content, list) else "<text>"


Content = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[Annotated[TextPart, BeforeValidator(_only_text)]], Tag("<parts>")],
    Discriminator(_content_tag),
]


class Message(BaseModel):
    """One turn. What an assistant's earlier reply carries beside its text is accepted empty."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Content = ""
    name: str | None = None
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
        if data.get("role") in ("tool", "function") or data.get("tool_calls"):
            raise PydanticCustomError("unsupported_tools", "tools are not supported by this model")
        if data.get("content") is None and data.get("role") != "assistant":
            raise PydanticCustomError("missing_content", "content is missing")
        empty = ("tool_calls", "function_call", "audio", "tool_call_id")
        return {
            name: value
            for name, value in data.items()
            if value is not None and not (name in empty and not value)
        }

    def plain(self) -> ChatMessage:
        """Text parts are joined by line breaks, as vLLM does."""
        text = self.content
        if not isinstance(text, str):
            text = "\n".join(part.text for part in text)
        role = "system" if self.role == "developer" else self.role
        return ChatMessage(role=role, content=text, name=self.name)


class ChatRequest(SamplingFields):
    messages: list[Message]
    max_completion_tokens: Integer | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: Integer | None = Field(None, ge=0, le=MAX_LOGPROBS)
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise refused("top_logprobs", "top_logprobs needs logprobs to be true")
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and both[0] != both[1]:
            raise refused(
                "max_completion_tokens",
                "max_tokens and max_completion_tokens differ; give one of them",
            )
        if self.max_tokens == 0:
            raise refused("max_tokens", "max_tokens must be at least 1")
        if self.add_generation_prompt == self.continue_final_message:
            raise refused(
                "continue_final_message",
                "add_generation_prompt and continue_final_message exclude each other; "
                "give add_generation_prompt: false with continue_final_message: true",
            )
        return self


def _prompt_tag(prompt: Any) -> str:
    if not isinstance(prompt, list):
        return "<text>"
    first = prompt[0] if prompt else ""
    if isinstance(first, list):
        return "<token lists>"
    return "<tokens>" if isinstance(first, int) else "<texts>"


CompletionPrompt = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], Tag("<texts>")]
    | Annotated[list[Integer], Tag("<tokens>")]
    | Annotated[list[list[Integer]], Tag("<token lists>")],
    Discriminator(_prompt_tag),
]


class CompletionRequest(SamplingFields):
    """Prompts: a string, a list of strings, token ids, or a list of lists of token ids."""

    prompt: CompletionPrompt
    echo: bool = False
    logprobs: Integer | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise refused("max_tokens", "max_tokens must be at least 1 unless echo is true")
        return self
