"""Gemini's replies, for the OpenAPI document. They are rendered elsewhere, without these classes;
a test holds the two together."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from service.api.document.routing_reply import RoutingReply


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class ModalityReply(_Camel):
    modality: Literal["TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"]
    token_count: int


class UsageMetadataReply(_Camel):
    prompt_token_count: int
    candidates_token_count: int
    total_token_count: int
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    prompt_tokens_details: list[ModalityReply]
    candidates_tokens_details: list[ModalityReply]


class CandidateContentReply(_Camel):
    """parts: of `text`, or of a `functionCall`."""

    role: Literal["model"]
    parts: list[dict[str, Any]]


class CandidateReply(_Camel):
    content: CandidateContentReply
    index: int
    finish_reason: Literal["STOP", "MAX_TOKENS", "OTHER"] | None = None
    finish_message: str | None = None
    token_count: int | None = None
    avg_logprobs: float | None = None
    logprobs_result: dict[str, Any] | None = None


class GenerateContentReply(_Camel):
    candidates: list[CandidateReply]
    usage_metadata: UsageMetadataReply | None = None
    model_version: str
    response_id: str
    create_time: str
    uncertainty_routing: RoutingReply | None = None


class CountTokensReply(_Camel):
    total_tokens: int
    cached_content_token_count: int | None = None
    prompt_tokens_details: list[ModalityReply]


class VectorReply(_Camel):
    values: list[float]


class EmbeddingUsageReply(_Camel):
    prompt_token_count: int
    total_token_count: int
    prompt_tokens_details: list[ModalityReply]


class EmbeddingReply(_Camel):
    embedding: VectorReply
    usage_metadata: EmbeddingUsageReply


class BatchEmbeddingReply(_Camel):
    embeddings: list[VectorReply]
    usage_metadata: EmbeddingUsageReply
