"""The Live API's messages, each small enough for every client."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from service.api.gemini.endpoints import FIELD
from service.api.gemini.rendering import error_body, text_part, thought_part
from service.api.sessions.answering import Used
from service.api.sessions.line import BAD_DATA, FAILED, LATER, POLICY, Over
from service.errors import ApiError, Kind

MAX_FRAME_BYTES = 900_000
"""google-genai's sockets take frames of up to a mebibyte."""

MAX_CHARS = 128 * 1024
"""Of a text in one message: at most six bytes each when they are escaped."""

CLOSE_CODES: dict[Kind, int] = {
    "invalid": BAD_DATA,
    "overloaded": LATER,
    "rate_limited": LATER,
    "unavailable": LATER,
    "internal": FAILED,
    "deadline": FAILED,
}


def over(error: ApiError) -> Over:
    """An error ends a session of this protocol: its messages have no place for one."""
    return Over(CLOSE_CODES.get(error.kind, POLICY), error_body(error)["error"]["message"])


def content(**fields: Any) -> dict[str, Any]:
    return {"serverContent": fields}


def spoken(text: str, *, thought: bool = False) -> Iterator[dict[str, Any]]:
    part = thought_part if thought else text_part
    for at in range(0, len(text), MAX_CHARS):
        yield _model_turn(part(text[at : at + MAX_CHARS]))


def voted(step: dict[str, Any], *, part_metadata: bool) -> dict[str, Any]:
    """Rides on empty text, which every client can append. Without the texts of paths where those
    are too much for one frame."""
    step = _fitting(step)
    part = text_part("", {FIELD: step} if part_metadata else None)
    return {**_model_turn(part), FIELD: step}


def tool_calls(calls: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All calls of a turn, in as few messages as fit."""
    batch: list[dict[str, Any]] = []
    size = 0
    for call in calls:
        more = len(msgspec.json.encode(call))
        if batch and size + more > MAX_FRAME_BYTES:
            yield {"toolCall": {"functionCalls": batch}}
            batch, size = [], 0
        batch.append(call)
        size += more
    yield {"toolCall": {"functionCalls": batch}}


def usage(used: Used) -> dict[str, Any]:
    answered = used.completion - used.reasoning
    found: dict[str, Any] = {
        "promptTokenCount": used.prompt,
        "responseTokenCount": answered,
        "totalTokenCount": used.prompt + used.completion,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": used.prompt}],
        "responseTokensDetails": [{"modality": "TEXT", "tokenCount": answered}],
    }
    if used.reasoning:
        found["thoughtsTokenCount"] = used.reasoning
    if used.cached:
        found["cachedContentTokenCount"] = used.cached
        found["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": used.cached}]
    return {"usageMetadata": found}


def _model_turn(part: dict[str, Any]) -> dict[str, Any]:
    return content(modelTurn={"role": "model", "parts": [part]})


def _fitting(step: dict[str, Any]) -> dict[str, Any]:
    if len(msgspec.json.encode(step)) * 2 < MAX_FRAME_BYTES:
        return step
    return {name: value for name, value in step.items() if name not in ("text", "paths", "direct")}
