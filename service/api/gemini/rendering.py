"""Gemini's response objects, and how events become them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from model.contract import TokenLogprob
from model.text.tokenizer import Tokenizer
from service.api.gemini.tools import call_part
from service.api.generation import Counts
from service.api.planning import ContextOverflow
from service.api.tokens import finite, token_text
from service.api.tools.reading import Message
from service.errors import ApiError

STATUSES = {
    "invalid": "INVALID_ARGUMENT",
    "unauthenticated": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "unknown_model": "NOT_FOUND",
    "method": "UNIMPLEMENTED",
    "conflict": "ALREADY_EXISTS",
    "slow": "DEADLINE_EXCEEDED",
    "too_large": "INVALID_ARGUMENT",
    "rate_limited": "RESOURCE_EXHAUSTED",
    "overloaded": "RESOURCE_EXHAUSTED",
    "unavailable": "UNAVAILABLE",
    "deadline": "DEADLINE_EXCEEDED",
    "aborted": "CANCELLED",
    "internal": "INTERNAL",
}

FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS"}

# The internal request's words, in this protocol's.
FIELDS = {
    "messages": "contents",
    "prompt": "contents",
    "n": "generationConfig.candidateCount",
    "max_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "seed": "generationConfig.seed",
    "stop": "generationConfig.stopSequences",
    "logprobs": "generationConfig.responseLogprobs",
    "constraint": "generationConfig.responseSchema",
    "tool_choice": "toolConfig.functionCallingConfig",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "dimensions": "outputDimensionality",
    "uncertainty_routing.k": "uncertaintyRouting.k",
    "uncertainty_routing.constrain": "uncertaintyRouting.constrain",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What is the same on every chunk of a reply."""

    model: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: str = field(
        default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    )


def sse(payload: Any) -> bytes:
    """The SDK's reader knows this one form: no comments, no event names, no end mark."""
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def error_body(error: ApiError) -> dict[str, Any]:
    details: list[dict[str, Any]] = []
    param = FIELDS.get(error.param, error.param) if error.param else None
    if error.kind in ("invalid", "unknown_model") and param:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": param, "description": error.message}],
            }
        )
    if error.retry_after is not None:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{error.retry_after:g}s",
            }
        )
    return {
        "error": {
            "code": error.status,
            "message": _message(error, param),
            "status": STATUSES[error.kind],
            "details": details,
        }
    }


def _message(error: ApiError, param: str | None) -> str:
    if isinstance(error, ContextOverflow):
        if error.wanted is None:
            return (
                f"The input token count ({error.prompt_tokens}) exceeds the maximum number of "
                f"tokens allowed ({error.context})."
            )
        return (
            f"The input token count ({error.prompt_tokens}) and maxOutputTokens ({error.wanted}) "
            f"together exceed the maximum number of tokens allowed ({error.context})."
        )
    if param is not None and error.param in FIELDS and param not in error.message:
        return f"{param}: {error.message}"
    return error.message


def response(
    reply: Reply, candidates: Sequence[Any], usage: Any | None = None, **more: Any
) -> dict[str, Any]:
    body: dict[str, Any] = {"candidates": candidates}
    if usage is not None:
        body["usageMetadata"] = usage
    return {
        **body,
        "modelVersion": reply.model,
        "responseId": reply.id,
        "createTime": reply.created,
        **more,
    }


def text_part(text: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """metadata: the one free object that clients keep."""
    return {"text": text} if metadata is None else {"text": text, "partMetadata": metadata}


def thought_part(text: str) -> dict[str, Any]:
    return {"text": text, "thought": True}


def parts_of(message: Message) -> list[dict[str, Any]]:
    """Reasoning, text, calls. Never none: clients read the first."""
    thoughts = [thought_part(message.reasoning)] if message.reasoning else []
    text = [text_part(message.text)] if message.text else []
    calls = [call_part(call) for call in message.calls]
    return [*thoughts, *text, *calls] or [text_part("")]


def candidate(
    index: int, parts: Sequence[Any], finish: str | None = None, **more: Any
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "content": {"parts": parts, "role": "model"},
        "index": index,
        **more,
    }
    if finish is not None:
        body["finishReason"] = FINISH_REASONS.get(finish, "OTHER")
    return body


def usage_metadata(prompt: int, candidates: int, *, thoughts: int = 0, cached: int = 0) -> Any:
    usage: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + candidates + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": candidates}],
    }
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if cached:
        usage["cachedContentTokenCount"] = cached
    return usage


def usage_of(counts: Counts) -> Any:
    thoughts = counts.thoughts
    answered = counts.completion - thoughts
    return usage_metadata(counts.prompt, answered, thoughts=thoughts, cached=counts.cached)


def logprobs_result(entries: Sequence[TokenLogprob], tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "chosenCandidates": [_entry(entry.id, entry.logprob, tokenizer) for entry in entries],
        "topCandidates": [
            {"candidates": [_entry(*pair, tokenizer) for pair in entry.top]} for entry in entries
        ],
        "logProbabilitySum": sum(finite(entry.logprob) for entry in entries),
    }


def _entry(token: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "token": token_text(token, tokenizer),
        "tokenId": token,
        "logProbability": finite(logprob),
    }
