"""What OpenAI's clients send, with vLLM's extensions, and how it becomes an `Ask`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Discriminator, Field, Tag, model_validator

from model.contract import MAX_LOGPROBS
from service.api.openai.messages import Message
from service.api.openai.sampling_fields import IGNORED, NEUTRAL, Integer
from service.api.openai.structured import StructuredFields
from service.api.openai.thinking import ThinkingFields
from service.api.openai.tools import Tool, ToolChoice, offer_of
from service.api.parsing import refused
from service.api.parts import check_parts
from service.api.thinking.wish import Effort, Wish
from service.api.tools.offer import MAX_FUNCTIONS, Offer

_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_THINKING = ("reasoning_effort", "chat_template_kwargs")


class ChatRequest(StructuredFields, ThinkingFields):
    ignored = IGNORED.difference(_TOOLS)
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = {
        name: values for name, values in NEUTRAL.items() if name not in (*_TOOLS, *_THINKING)
    }

    messages: Annotated[list[Message], Field(fail_fast=True)]
    tools: list[Tool] = Field([], max_length=MAX_FUNCTIONS)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    max_completion_tokens: Integer | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: Integer | None = Field(None, ge=0, le=MAX_LOGPROBS)
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    reasoning_effort: Effort | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise refused("top_logprobs", "top_logprobs needs logprobs to be true")
        check_parts((message.content for message in self.messages), "messages")
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

    def wish(self) -> Wish:
        """What is said of reasoning. Raises ApiError."""
        return self.wish_of(self.reasoning_effort, "reasoning_effort")

    def offer(self) -> Offer | None:
        """The functions that the model may call. Raises ApiError."""
        return offer_of(self.tools, self.tool_choice, self.parallel_tool_calls)


def _prompt_tag(prompt: Any) -> str:
    if not isinstance(prompt, list):
        return "<text>"
    first = prompt[0] if prompt else ""
    if isinstance(first, list):
        return "<token lists>"
    return "<tokens>" if isinstance(first, int) else "<texts>"


CompletionPrompt = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], Field(fail_fast=True), Tag("<texts>")]
    | Annotated[list[Integer], Field(fail_fast=True), Tag("<tokens>")]
    | Annotated[
        list[Annotated[list[Integer], Field(fail_fast=True)]],
        Field(fail_fast=True),
        Tag("<token lists>"),
    ],
    Discriminator(_prompt_tag),
]


class CompletionRequest(StructuredFields):
    """Prompts: a string, a list of strings, token ids, or a list of lists of token ids."""

    prompt: CompletionPrompt
    echo: bool = False
    logprobs: Integer | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise refused("max_tokens", "max_tokens must be at least 1 unless echo is true")
        return self
