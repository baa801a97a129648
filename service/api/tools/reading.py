"""Answers into reasoning, text and calls, for every protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.contract import PathOutput
from model.text.language import TextModel
from model.text.thinking import Thought, ThoughtSplitter
from model.text.tools.calls import Call
from model.text.tools.calls import Said as Answered
from model.text.tools.families import call_reader
from service.api.thinking.prompting import Thoughts
from service.api.tools.offer import Offer

Said = Thought | Answered


class Reader(Protocol):
    """What the pieces of one answer say; see model.text.tools.reader.CallReader."""

    def push(self, text: str) -> Sequence[Said]: ...

    def finish(self) -> Sequence[Said]: ...


class TextReader:
    """For answers that call nothing: every piece is text."""

    def push(self, text: str) -> list[Said]:
        return [text] if text else []

    def finish(self) -> list[Said]:
        return []


class ThinkingReader:
    """Takes the reasoning off; what follows is read by another reader. Reasoning that is not to be
    shown is dropped."""

    def __init__(self, thoughts: Thoughts, behind: Reader) -> None:
        self._splitter = ThoughtSplitter(
            thoughts.marks, opened=thoughts.opened, enders=thoughts.enders
        )
        self._shown = thoughts.shown
        self._behind = behind

    def push(self, text: str) -> list[Said]:
        return self._read(self._splitter.push(text))

    def finish(self) -> list[Said]:
        return [*self._read(self._splitter.finish()), *self._behind.finish()]

    def _read(self, pieces: Sequence[Thought | str]) -> list[Said]:
        said: list[Said] = []
        for piece in pieces:
            if isinstance(piece, str):
                said += self._behind.push(piece)
            elif self._shown:
                said.append(piece)
        return said


def reader_of(offer: Offer | None, text: TextModel, thoughts: Thoughts | None = None) -> Reader:
    reader: Reader = TextReader()
    if offer is not None:
        reader = call_reader(text.tool_family, offer.allowed, offer.most)
    return reader if thoughts is None else ThinkingReader(thoughts, reader)


def heard(reader: Reader, event: PathOutput) -> list[Said]:
    """What an event adds to its answer."""
    ended = event.finish is not None
    return [*reader.push(event.text), *(reader.finish() if ended else ())]


@dataclass(frozen=True, slots=True)
class Message:
    """A whole answer: its text, what it calls behind it, and the reasoning before it."""

    text: str
    calls: tuple[Call, ...]
    reasoning: str = ""


def read_message(written: str, reader: Reader) -> Message:
    """A whole answer, by a reader that has read nothing yet."""
    return message_of([*reader.push(written), *reader.finish()])


def message_of(said: Sequence[Said]) -> Message:
    return Message(
        text="".join(piece for piece in said if isinstance(piece, str)),
        calls=tuple(piece for piece in said if isinstance(piece, Call)),
        reasoning="".join(piece.text for piece in said if isinstance(piece, Thought)),
    )
