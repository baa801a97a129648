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
    MAX_LOGPROBS,
)
from model.text.language import ChatMessage
from service.api.openai.sampling_fields import Integer
from service.api.openai.structured import StructuredFields
from service.api.parsing import refused


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


class ChatRequest(StructuredFields):
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
