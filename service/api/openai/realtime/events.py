"""What the server says: events, each with an id of its own."""

from typing import Any

from service.api.openai.realtime.items import new_id
from service.api.openai.rendering import error_body
from service.api.sessions.answering import Used
from service.api.sessions.line import Line
from service.errors import ApiError

PARAMS = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "prompt": "input",
}
"""What the gateway calls parameters, and what they are called here."""


class Outbox:
    def __init__(self, line: Line) -> None:
        self._line = line

    async def send(self, kind: str, **fields: Any) -> None:
        """Raises Gone."""
        await self._line.send({"type": kind, "event_id": new_id("event"), **fields})

    async def error(self, error: ApiError, event_id: str | None) -> None:
        """event_id: of the client's event that is at fault."""
        await self.send("error", error={**error_object(error), "event_id": event_id})


def error_object(error: ApiError) -> dict[str, Any]:
    shown: dict[str, Any] = error_body(error)["error"]
    param = shown["param"]
    return {**shown, "param": PARAMS.get(param, param)}


def usage_object(used: Used) -> dict[str, Any]:
    return {
        "total_tokens": used.prompt + used.completion,
        "input_tokens": used.prompt,
        "output_tokens": used.completion,
        "input_token_details": {
            "text_tokens": used.prompt,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": used.cached,
            "cached_tokens_details": {
                "text_tokens": used.cached,
                "audio_tokens": 0,
                "image_tokens": 0,
            },
        },
        "output_token_details": {
            "text_tokens": used.completion,
            "audio_tokens": 0,
            "reasoning_tokens": used.reasoning,
        },
    }
