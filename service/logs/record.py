"""What one request was and what it cost: gathered while it runs, written once it has ended.

Whoever knows something of the request notes it on `current_record`; nothing is added up twice and
nothing is done per token. Strings of clients are no part of it, but for what `log_prompts` asks.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

MAX_TEXT = 4_096
"""Characters of a prompt, and of all answers to it together, where they are logged at all."""


class Counted(Protocol):
    """A count that grows on its own (model.text.thinking.ThoughtCounter)."""

    @property
    def count(self) -> int: ...


class Known(Protocol):
    """An error as it is told to the caller (service.errors.ApiError)."""

    kind: Any
    code: str | None


@dataclass(slots=True)
class Record:
    """began, first_token: seconds, monotonic. worked: something was put to a worker. thoughts: the
    counters of its answers' reasoning. routed: the outcome of a vote. turns: of a session, None for
    all that is none. prompt, answers: only with `log_prompts`; answers by their place."""

    request_id: str = ""
    began: float = field(default_factory=time.monotonic)
    model: str | None = None
    stream: bool = False
    worked: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int | None = None
    first_token: float | None = None
    finishes: set[str] = field(default_factory=set)
    routed: dict[str, Any] | None = None
    error: Known | None = None
    turns: int | None = None
    thoughts: list[Counted] = field(default_factory=list)
    prompt: str | None = None
    answers: dict[Any, str] = field(default_factory=dict)
    _text_left: int = MAX_TEXT

    def started(self, prompt_tokens: int, cached_tokens: int) -> None:
        """A group of it left the queue."""
        self.worked = True
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens

    def sampled(self, tokens: int, now: float) -> None:
        if self.first_token is None:
            self.first_token = now
        self.completion_tokens += tokens

    def said(self, place: Any, text: str) -> None:
        kept = text[: self._text_left]
        if kept:
            self._text_left -= len(kept)
            self.answers[place] = self.answers.get(place, "") + kept

    def add(self, turn: "Record") -> None:
        """A turn of this session is over."""
        self.turns = (self.turns or 0) + 1
        self.model = turn.model or self.model
        self.worked = self.worked or turn.worked
        self.prompt_tokens += turn.prompt_tokens
        self.completion_tokens += turn.completion_tokens
        self.cached_tokens += turn.cached_tokens
        reasoned = turn.reasoned
        if reasoned is not None:
            self.reasoning_tokens = (self.reasoning_tokens or 0) + reasoned
        self.finishes |= turn.finishes
        self.error = turn.error or self.error

    @property
    def reasoned(self) -> int | None:
        """Tokens of reasoning; None where none can be."""
        if self.thoughts:
            return sum(counter.count for counter in self.thoughts)
        return self.reasoning_tokens

    def facts(self) -> dict[str, Any]:
        """For the line in the log. What does not apply is left out."""
        facts: dict[str, Any] = {"duration_s": round(time.monotonic() - self.began, 6)}
        if self.model is not None:
            facts["model"] = self.model
            facts["stream"] = self.stream
        if self.turns is not None:
            facts["turns"] = self.turns
        if self.worked:
            facts["prompt_tokens"] = self.prompt_tokens
            facts["cached_tokens"] = self.cached_tokens
            facts["completion_tokens"] = self.completion_tokens
        if self.reasoned is not None:
            facts["reasoning_tokens"] = self.reasoned
        if self.first_token is not None:
            facts["ttft_s"] = round(self.first_token - self.began, 6)
        if self.finishes:
            facts["finish"] = sorted(self.finishes)
        facts.update(self.routed or {})
        if self.error is not None:
            facts["error"] = self.error.kind
            if self.error.code is not None:
                facts["error_code"] = self.error.code
        if self.turns is None:
            facts.update(self._texts())
        return facts

    def _texts(self) -> dict[str, Any]:
        texts: dict[str, Any] = {} if self.prompt is None else {"prompt": self.prompt}
        if self.answers:
            texts["answer"] = list(self.answers.values())
        return texts


current_record: ContextVar[Record | None] = ContextVar("current_record", default=None)
"""Of the request, or of the turn of a session, that this task works for."""


@contextmanager
def turn_of_session() -> Iterator[Record]:
    """What is noted meanwhile is the turn's; in the end it is the session's too."""
    session = current_record.get()
    record = Record(request_id="" if session is None else session.request_id, stream=True)
    token = current_record.set(record)
    try:
        yield record
    finally:
        current_record.reset(token)
        if session is not None:
            session.add(record)


def note_error(error: Known) -> None:
    record = current_record.get()
    if record is not None:
        record.error = error


def begin_session() -> None:
    """The request of this task is a session; its turns are counted."""
    record = current_record.get()
    if record is not None:
        record.turns = 0


def note_stream() -> None:
    record = current_record.get()
    if record is not None:
        record.stream = True


def note_thoughts(counters: Sequence[Counted]) -> None:
    """They are read when the request has ended."""
    record = current_record.get()
    if record is not None:
        record.thoughts.extend(counters)
