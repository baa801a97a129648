"""OpenAI's response objects, and how events become them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from model.contract import TokenLogprob
from model.text.tokenizer import Tokenizer
from service.api.generation import Counts
from service.api.planning import ContextOverflow
from service.api.templates import Template, slot
from service.api.tokens import finite, token_text
from service.errors import ApiError

FINISHED = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is the same on every chunk of a reply."""

    id: str
    model: str
    fingerprint: str
    created: int = field(default_factory=lambda: int(time.time()))


class Usage(msgspec.Struct, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | None = None
    completion_tokens_details: dict[str, int] | None = None


def usage(prompt: int, completion: int, *, cached: int = 0, reasoning: int | None = None) -> Usage:
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details={"cached_tokens": cached},
        completion_tokens_details=None if reasoning is None else {"reasoning_tokens": reasoning},
    )


def usage_of(counts: Counts) -> Usage:
    return usage(
        counts.prompt,
        counts.completion,
        cached=counts.cached,
        reasoning=counts.thoughts if counts.counters else None,
    )


def reasoning_fields(text: str) -> dict[str, Any]:
    """Of a message or a delta: by the name that DeepSeek's clients read and by vLLM's."""
    return {"reasoning_content": text, "reasoning": text}


def sse(payload: Any) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def error_body(error: ApiError) -> dict[str, Any]:
    kinds = {
        "unauthenticated": "authentication_error",
        "forbidden": "permission_error",
        "rate_limited": "rate_limit_error",
        "overloaded": "rate_limit_error",
        "unavailable": "service_unavailable_error",
        "internal": "server_error",
        "deadline": "timeout_error",
        "slow": "timeout_error",
    }
    codes = {"unavailable": "service_unavailable", "deadline": "timeout"}
    return {
        "error": {
            "message": _message(error),
            "type": kinds.get(error.kind, "invalid_request_error"),
            "param": PARAMS.get(error.param, error.param) if error.param else None,
            "code": error.code or codes.get(error.kind),
        }
    }


def _message(error: ApiError) -> str:
    if not isinstance(error, ContextOverflow):
        return error.message
    start = f"This model's maximum context length is {error.context} tokens. However, "
    if error.wanted is None:
        return start + f"your {error.param} resulted in {error.prompt_tokens} tokens."
    return start + (
        f"you requested {error.prompt_tokens + error.wanted} tokens ({error.prompt_tokens} in the "
        f"{error.param}, {error.wanted} in the completion)."
    )


PARAMS = {"stop_ids": "stop_token_ids", "constraint": "response_format"}


def error_chunk(error: ApiError) -> bytes:
    return sse(error_body(error))


def chat_completion(reply: Reply, choices: Sequence[Any], used: Usage, **more: Any) -> Any:
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "system_fingerprint": reply.fingerprint,
        "choices": choices,
        "usage": used,
        **more,
    }


def chat_choice(
    index: int,
    text: str,
    finish: str | None,
    logprobs: Any = None,
    *,
    refusal: str | None = None,
    calls: Sequence[Any] = (),
    reasoning: str = "",
) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
    if reasoning:
        message |= reasoning_fields(reasoning)
    if calls:
        message |= {"content": text or None, "tool_calls": calls}
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": finish,
    }


def chat_chunk(reply: Reply, choices: Sequence[Any], **more: Any) -> Any:
    return {
        "id": reply.id,
        "object": "chat.completion.chunk",
        "created": reply.created,
        "model": reply.model,
        "system_fingerprint": reply.fingerprint,
        "choices": choices,
        **more,
    }


class DeltaChunks:
    """The chunks of one stream that have a choice. Those with text alone are nearly all of them.

    used: where every chunk tells the usage so far.
    """

    def __init__(
        self, reply: Reply, more: dict[str, Any], used: Callable[[], Usage] | None = None
    ) -> None:
        self._reply = reply
        self._more = more
        self._used = used
        self._text: dict[int, Template] = {}

    def delta(self, index: int, delta: dict[str, Any], logprobs: Any = None) -> bytes:
        if logprobs is not None or delta.keys() != _TEXT_ALONE:
            return self.of(delta_choice(index, delta, None, logprobs))
        template = self._text.get(index)
        if template is None:
            template = self._text[index] = self._template(index)
        if self._used is None:
            return template.fill(delta["content"])
        return template.fill(delta["content"], self._used())

    def of(self, choice: Any) -> bytes:
        now = {} if self._used is None else {"usage": self._used()}
        return sse(chat_chunk(self._reply, [choice], **{**self._more, **now}))

    def _template(self, index: int) -> Template:
        now, slots = ({}, 1) if self._used is None else ({"usage": slot(1)}, 2)
        choice = delta_choice(index, {"content": slot(0)})
        payload = chat_chunk(self._reply, [choice], **{**self._more, **now})
        return Template(payload, slots, b"data: ", b"\n\n")


_TEXT_ALONE = {"content"}


def delta_choice(
    index: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None
) -> Any:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def chat_logprobs(entries: Sequence[TokenLogprob], tokenizer: Tokenizer) -> Any:
    return {
        "content": [
            {
                **_token_entry(entry.id, entry.logprob, tokenizer),
                "top_logprobs": [_token_entry(*pair, tokenizer) for pair in entry.top],
            }
            for entry in entries
        ],
        "refusal": None,
    }


def _token_entry(token: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    raw = tokenizer.token_bytes(token)
    return {
        "token": token_text(token, tokenizer),
        "logprob": finite(logprob),
        "bytes": list(raw) if raw else None,
    }
