"""The parameters that OpenAI's chat, completions and responses have in common, with vLLM's."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from model.contract import (
    MAX_LOGIT_BIAS,
    MAX_REPETITION_PENALTY,
    MAX_STOP_IDS,
    MAX_STOP_STRINGS,
    Constraint,
)
from routing.policy import RoutingPolicy
from service.api.internal import Sampling
from service.api.openai.given import Given
from service.api.parsing import whole
from service.placement import MAX_SALT_CHARS

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


Integer = Annotated[int, BeforeValidator(whole)]
"""`true` and "16" are mistakes."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: bool | None = None


class SamplingFields(Given):
    """What chat and completions have in common."""

    ignored: ClassVar[frozenset[str]] = IGNORED
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = NEUTRAL

    model: str
    n: Integer = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Integer | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: Integer | None = None
    stop: Annotated[
        Annotated[list[str], Field(fail_fast=True)],
        BeforeValidator(
            lambda given: [given] if isinstance(given, str) else given,
            json_schema_input_type=str | list[str],
        ),
        Field(max_length=MAX_STOP_STRINGS),
    ] = Field([])
    logit_bias: dict[Annotated[int, Field(strict=False)], float] = Field(
        {}, max_length=MAX_LOGIT_BIAS
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    # vLLM's extensions
    top_k: Integer = Field(0, ge=-1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0, le=MAX_REPETITION_PENALTY)
    ignore_eos: bool = False
    min_tokens: Integer = Field(0, ge=0)
    stop_token_ids: list[Integer] = Field([], max_length=MAX_STOP_IDS)
    cache_salt: str | None = Field(None, min_length=1, max_length=MAX_SALT_CHARS)
    # ours
    uncertainty_routing: RoutingPolicy | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def continuous_usage(self) -> bool:
        """Every chunk of a stream tells the usage so far (vLLM); only where the last one does."""
        options = self.stream_options
        return self.include_usage and options is not None and options.continuous_usage_stats

    def form(self) -> Constraint | None:
        """What the answer must look like, where a request can say so."""
        return None

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
            constraint=self.form(),
        )
