"""A response as a stream of typed events, each with its number.

Steps of a vote ride on further `response.in_progress` events, in `uncertainty_routing`: clients
misread types that they do not know, and OpenAI's helpers rebuild the others without extra fields.
"""

from typing import Any

import msgspec

from service.api.openai.rendering import error_body
from service.api.openai.responses.rendering import (
    FIELD,
    Logprobs,
    Turn,
    failed_response,
    message,
    response,
    text_part,
)
from service.errors import ApiError


class EventWriter:
    """Makes the events of one response: begin, step..., open, delta..., end.

    `fail` may come instead of any of them; nothing comes after it.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._number = 0
        self._opened = False
        self._texts: list[str] = []
        self.logprobs: Logprobs = []
        # Written out once, however many events repeat it.
        self._in_progress = msgspec.Raw(msgspec.json.encode(response(turn, "in_progress")))

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def begin(self) -> bytes:
        created = self._event("response.created", response=self._in_progress)
        return created + self._event("response.in_progress", response=self._in_progress)

    def step(self, step: dict[str, Any]) -> bytes:
        more: dict[str, Any] = {FIELD: step}
        return self._event("response.in_progress", response=self._in_progress, **more)

    def open(self) -> bytes:
        """The message is there, with nothing in it yet."""
        self._opened = True
        item = message(self.turn, "in_progress")
        added = self._event("response.output_item.added", output_index=0, item=item)
        return added + self._part("response.content_part.added", part=text_part(""))

    def delta(self, text: str, logprobs: Logprobs) -> bytes:
        self._texts.append(text)
        self.logprobs += logprobs
        return self._part("response.output_text.delta", delta=text, logprobs=logprobs)

    def end(self, final: dict[str, Any]) -> bytes:
        """final: the whole response, completed or incomplete."""
        (item,) = final["output"]
        (part,) = item["content"]
        return b"".join(
            (
                self._part(
                    "response.output_text.done", text=part["text"], logprobs=part["logprobs"]
                ),
                self._part("response.content_part.done", part=part),
                self._event("response.output_item.done", output_index=0, item=item),
                self._event(f"response.{final['status']}", response=final),
            )
        )

    def fail(self, error: ApiError) -> bytes:
        """The response as far as it came, then the error. OpenAI's clients raise whatever has a
        field `error` and read no further, so that event is the last."""
        part = text_part(self.text, self.logprobs)
        output = [message(self.turn, "incomplete", [part])] if self._opened else []
        failed = self._event("response.failed", response=failed_response(self.turn, error, output))
        shown = error_body(error)["error"]
        flat = {name: shown[name] for name in ("code", "message", "param")}
        return failed + self._event("error", **flat, error=shown)

    def _part(self, kind: str, **fields: Any) -> bytes:
        place = {"item_id": self.turn.message_id, "output_index": 0, "content_index": 0}
        return self._event(kind, **place, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"
