"""A response as a stream of typed events, each with its number.

Steps of a vote ride on further `response.in_progress` events, in `uncertainty_routing`: clients
misread types that they do not know, and OpenAI's helpers rebuild the others without extra fields.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from model.text.thinking import Thought
from model.text.tools.calls import Call
from service.api.openai.rendering import error_body
from service.api.openai.responses.conversation import Called, Message, Reasoned
from service.api.openai.responses.rendering import (
    FIELD,
    Logprobs,
    Output,
    Turn,
    failed_response,
    reasoning_part,
    response,
    text_part,
)
from service.api.tools.reading import Said
from service.errors import ApiError


class EventWriter:
    """Makes the events of one response: begin, step..., say..., close, end.

    `fail` may come instead of any of them; nothing comes after it.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.output: list[Output] = []
        """The items that are whole."""
        self._number = 0
        self._open: Message | Reasoned | None = None
        self._texts: list[str] = []
        self._logprobs: Logprobs = []
        # Written out once, however many events repeat it.
        self._in_progress = msgspec.Raw(msgspec.json.encode(response(turn, "in_progress")))

    @property
    def empty(self) -> bool:
        """Whether there is no item yet."""
        return self._open is None and not self.output

    @property
    def speaking(self) -> bool:
        """Whether a message is open."""
        return isinstance(self._open, Message)

    def begin(self) -> bytes:
        created = self._event("response.created", response=self._in_progress)
        return created + self._event("response.in_progress", response=self._in_progress)

    def step(self, step: dict[str, Any]) -> bytes:
        more: dict[str, Any] = {FIELD: step}
        return self._event("response.in_progress", response=self._in_progress, **more)

    def say(self, said: Sequence[Said], logprobs: Logprobs) -> bytes:
        """logprobs: they go with the first text."""
        sent = b""
        for piece in said:
            match piece:
                case Thought(text):
                    sent += self._go_on(Reasoned) + self._think(text)
                case Call():
                    sent += self.close() + self._call(Called(piece.name, piece.arguments))
                case _:
                    sent += self.open() + self._text(piece, logprobs)
                    logprobs = []
        return sent

    def open(self) -> bytes:
        """A message is there, with nothing in it yet, if none was."""
        return self._go_on(Message)

    def score(self, logprobs: Logprobs) -> bytes:
        """Of tokens whose text is yet to come."""
        return self.open() + self._text("", logprobs)

    def close(self, status: str = "completed") -> bytes:
        """What was open is whole."""
        if self._open is None:
            return b""
        output, text = self._so_far(status), "".join(self._texts)
        if isinstance(self._open, Reasoned):
            part = reasoning_part(text)
            done = self._part("response.reasoning_text.done", text=text)
        else:
            part = text_part(text, output.logprobs)
            done = self._part("response.output_text.done", text=text, logprobs=output.logprobs)
        done += self._part("response.content_part.done", part=part)
        return done + self._done(output)

    def end(self, final: dict[str, Any]) -> bytes:
        """final: the whole response, completed or incomplete."""
        return self._event(f"response.{final['status']}", response=final)

    def fail(self, error: ApiError) -> bytes:
        """The response as far as it came, then the error. OpenAI's clients raise whatever has a
        field `error` and read no further, so that event is the last."""
        output = [*self.output, *([self._so_far("incomplete")] if self._open else [])]
        shown_items = [one.rendered() for one in output]
        failed = self._event(
            "response.failed", response=failed_response(self.turn, error, shown_items)
        )
        shown = error_body(error)["error"]
        flat = {name: shown[name] for name in ("code", "message", "param")}
        return failed + self._event("error", **flat, error=shown)

    def _go_on(self, kind: type[Message] | type[Reasoned]) -> bytes:
        if isinstance(self._open, kind):
            return b""
        sent = self.close()
        if kind is Reasoned:
            self._open, part = Reasoned(""), reasoning_part("")
        else:
            self._open, part = Message("assistant", ("",)), text_part("")
        item = {**self._open.rendered(), "status": "in_progress", "content": []}
        sent += self._event("response.output_item.added", output_index=len(self.output), item=item)
        return sent + self._part("response.content_part.added", part=part)

    def _think(self, text: str) -> bytes:
        self._texts.append(text)
        return self._part("response.reasoning_text.delta", delta=text)

    def _text(self, text: str, logprobs: Logprobs) -> bytes:
        self._texts.append(text)
        self._logprobs += logprobs
        return self._part("response.output_text.delta", delta=text, logprobs=logprobs)

    def _call(self, call: Called) -> bytes:
        """Calls are whole when they are known to be calls."""
        place = {"item_id": call.id, "output_index": len(self.output)}
        item = {**call.rendered(), "status": "in_progress", "arguments": ""}
        kind = "response.function_call_arguments"
        return (
            self._event("response.output_item.added", output_index=len(self.output), item=item)
            + self._event(f"{kind}.delta", **place, delta=call.arguments)
            + self._event(f"{kind}.done", **place, name=call.name, arguments=call.arguments)
            + self._done(Output(call))
        )

    def _so_far(self, status: str) -> Output:
        text = "".join(self._texts)
        assert self._open is not None
        if isinstance(self._open, Reasoned):
            return Output(replace(self._open, text=text), status)
        return Output(replace(self._open, texts=(text,)), status, self._logprobs)

    def _done(self, output: Output) -> bytes:
        index = len(self.output)
        self.output.append(output)
        self._open, self._texts, self._logprobs = None, [], []
        return self._event("response.output_item.done", output_index=index, item=output.rendered())

    def _part(self, kind: str, **fields: Any) -> bytes:
        assert self._open is not None
        place = {"item_id": self._open.id, "output_index": len(self.output), "content_index": 0}
        return self._event(kind, **place, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"
