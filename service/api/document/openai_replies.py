"""OpenAI's replies, for the OpenAPI document. They are rendered elsewhere, without these classes;
a test holds the two together."""

from typing import Any, Literal

from pydantic import BaseModel

from service.api.document.routing_reply import RoutingReply


class PromptTokensDetails(BaseModel):
    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """reasoning_tokens: of the paths of a routed question, or of a model that thinks."""

    reasoning_tokens: int


class UsageReply(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class TokenReply(BaseModel):
    """bytes: of the token in UTF-8, which may be a part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class ScoredTokenReply(TokenReply):
    top_logprobs: list[TokenReply]


class ChatLogprobs(BaseModel):
    content: list[ScoredTokenReply]
    refusal: None


class CalledFunctionReply(BaseModel):
    """arguments: JSON text of an object."""

    name: str
    arguments: str


class CallReply(BaseModel):
    id: str
    type: Literal["function"]
    function: CalledFunctionReply


class ChatMessageReply(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[CallReply] | None = None


class ChatChoiceReply(BaseModel):
    index: int
    message: ChatMessageReply
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]


class ChatCompletionReply(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoiceReply]
    usage: UsageReply
    uncertainty_routing: RoutingReply | None = None


class TextLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoiceReply(BaseModel):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class TextCompletionReply(BaseModel):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoiceReply]
    usage: UsageReply


class ResponseInputDetails(BaseModel):
    cached_tokens: int


class ResponseOutputDetails(BaseModel):
    reasoning_tokens: int


class ResponseUsageReply(BaseModel):
    input_tokens: int
    input_tokens_details: ResponseInputDetails
    output_tokens: int
    output_tokens_details: ResponseOutputDetails
    total_tokens: int


class ResponseReply(BaseModel):
    """output: messages and other items, each with its `type`."""

    id: str
    object: Literal["response"]
    created_at: float
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: ResponseUsageReply | None
    uncertainty_routing: RoutingReply | None = None


class DeletedReply(BaseModel):
    id: str
    object: str
    deleted: Literal[True]


class ItemsReply(BaseModel):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EmbeddingEntryReply(BaseModel):
    """embedding: numbers, or base64 of little-endian float32 where that was asked for."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsageReply(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(BaseModel):
    object: Literal["list"]
    data: list[EmbeddingEntryReply]
    model: str
    usage: EmbeddingsUsageReply


class TokenizeReply(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeReply(BaseModel):
    prompt: str


class TokenizerReply(BaseModel):
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    chat_template: str | None
