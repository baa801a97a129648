"""The response object and its parts, plain or routed, whole or not."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from model.contract import InvalidParameter, TokenLogprob
from model.text.language import TemplateError
from model.text.tokenizer import Tokenizer
from routing.events import Shown
from service.api.generation import Counts
from service.api.openai.responses.conversation import Item, Message, Reasoned, new_id
from service.api.openai.responses.schemas import ResponseRequest
from service.api.routed import decision_headers
from service.api.tokens import finite, token_text
from service.errors import ApiError, Kind, as_api_error

FIELD = "uncertainty_routing"

PARAMS = {
    "messages": "input",
    "prompt": "input",
    "max_tokens": "max_output_tokens",
    "logprobs": "include",
    "constraint": "text.format",
}
"""What the gateway calls parameters, and what they are called here."""

Logprobs = list[dict[str, Any]]


@contextmanager
def in_these_words() -> Iterator[None]:
    """Errors about a parameter name it as callers of this endpoint know it."""
    try:
        yield
    except (ApiError, InvalidParameter, TemplateError) as error:
        shown = as_api_error(error)
        shown.param = PARAMS.get(shown.param or "", shown.param)
        if shown is error:
            raise
        raise shown from error


@dataclass(frozen=True, slots=True)
class Turn:
    """What is the same in every object of one response. items: the conversation it answers."""

    body: ResponseRequest
    items: tuple[Item, ...]
    owner: str | None
    routed: bool
    id: str = field(default_factory=lambda: new_id("resp"))
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True, slots=True)
class Output:
    """An item of the answer as it is told. logprobs: of a message's tokens."""

    item: Item
    status: str = "completed"
    logprobs: Logprobs = field(default_factory=list)

    def rendered(self) -> dict[str, Any]:
        shown = {**self.item.rendered(), "status": self.status}
        if isinstance(self.item, Message):
            shown["content"] = [text_part(self.item.text, self.logprobs)]
        return shown


@dataclass(frozen=True, slots=True)
class Answer:
    """What came out. finish: "stop" or "length". decision, headers: of a routed question."""

    output: Sequence[Output]
    finish: str | None
    usage: dict[str, Any]
    decision: dict[str, Any] | None = None
    headers: dict[str, str] | None = None

    @property
    def status(self) -> str:
        return status_of(self.finish)


def status_of(finish: str | None) -> str:
    return "incomplete" if finish == "length" else "completed"


def told(items: Sequence[Item], finish: str | None, logprobs: Logprobs) -> list[Output]:
    """The items of a whole answer; there is always one. logprobs: of its first message."""
    shown = list(items) or [Message("assistant", ("",))]
    output = []
    for place, item in enumerate(shown):
        mine: Logprobs = []
        if isinstance(item, Message):
            mine, logprobs = logprobs, []
        cut = place == len(shown) - 1 and isinstance(item, Message | Reasoned)
        output.append(Output(item, status_of(finish) if cut else "completed", mine))
    return output


def shown_items(shown: Shown) -> list[Item]:
    thoughts: list[Item] = [Reasoned(shown.reasoning)] if shown.reasoning else []
    return [*thoughts, Message("assistant", (shown.text,))]


def shown_answer(shown: Shown) -> Answer:
    used = shown.usage
    return Answer(
        output=told(shown_items(shown), shown.finish_reason, []),
        finish=shown.finish_reason,
        usage=usage(
            used.prompt_tokens,
            used.completion_tokens,
            cached=used.cached_tokens,
            reasoning=used.reasoning_tokens,
        ),
        decision=shown.decision.to_response(),
        headers=decision_headers(shown.decision),
    )


def final_response(turn: Turn, answer: Answer) -> dict[str, Any]:
    incomplete = answer.status == "incomplete"
    more: dict[str, Any] = {} if answer.decision is None else {FIELD: answer.decision}
    return response(
        turn,
        answer.status,
        output=[output.rendered() for output in answer.output],
        usage=answer.usage,
        completed_at=None if incomplete else int(time.time()),
        incomplete_details={"reason": "max_output_tokens"} if incomplete else None,
        **more,
    )


def failed_response(turn: Turn, error: ApiError, output: Sequence[Any]) -> dict[str, Any]:
    codes: dict[Kind, str] = {"overloaded": "rate_limit_exceeded", "invalid": "invalid_prompt"}
    return response(
        turn,
        "failed",
        output=output,
        error={"code": codes.get(error.kind, "server_error"), "message": error.message},
    )


def response(turn: Turn, status: str, *, output: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    body = turn.body
    return {
        "id": turn.id,
        "object": "response",
        "created_at": turn.created,
        "completed_at": None,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata,
        "model": body.model,
        "output": output,
        "parallel_tool_calls": body.parallel_tool_calls,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": body.reasoning.effort, "summary": body.reasoning.summary},
        "service_tier": "default",
        "store": body.store,
        # The paths of a vote have defaults of their own.
        "temperature": 1.0 if body.temperature is None and not turn.routed else body.temperature,
        "text": {"format": body.text.format.echo(), "verbosity": "medium"},
        "tool_choice": body.tool_choice_echo(),
        "tools": [tool.echo() for tool in body.tools],
        "top_logprobs": body.top_logprobs,
        "top_p": 1.0 if body.top_p is None and not turn.routed else body.top_p,
        "truncation": "disabled",
        "usage": None,
        **more,
    }


def text_part(text: str, logprobs: Logprobs | None = None) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def reasoning_part(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def usage(prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        # Writing to the prefix cache is never charged for, hence never counted.
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + completion,
    }


def usage_of(counts: Counts) -> dict[str, Any]:
    return usage(counts.prompt, counts.completion, cached=counts.cached, reasoning=counts.thoughts)


def token_logprobs(entries: Sequence[TokenLogprob], tokenizer: Tokenizer) -> Logprobs:
    return [
        {
            **_token(entry.id, entry.logprob, tokenizer),
            "top_logprobs": [_token(*pair, tokenizer) for pair in entry.top],
        }
        for entry in entries
    ]


def _token(token: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    # Control tokens have no bytes; the list may not be null here, as it may in chat.
    return {
        "token": token_text(token, tokenizer),
        "bytes": list(tokenizer.token_bytes(token) or b""),
        "logprob": finite(logprob),
    }
