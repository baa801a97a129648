"""Answers into text and calls, for every protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.text.language import TextModel
from model.text.tools.calls import Call, Said
from model.text.tools.families import call_reader
from service.api.tools.offer import Offer


class Reader(Protocol):
    """What the pieces of one answer say; see model.text.tools.reader.CallReader."""

    def push(self, text: str) -> list[Said]: ...

    def finish(self) -> list[Said]: ...


class TextReader:
    """For answers that call nothing: every piece is text."""

    def push(self, text: str) -> list[Said]:
        return [text] if text else []

    def finish(self) -> list[Said]:
        return []


def reader_of(offer: Offer | None, text: TextModel) -> Reader:
    if offer is None:
        return TextReader()
    return call_reader(text.tool_family, offer.allowed, offer.most)


@dataclass(frozen=True, slots=True)
class Message:
    """A whole answer: its text, and what it calls behind it."""

    text: str
    calls: tuple[Call, ...]


def read_message(written: str, offer: Offer | None, text: TextModel) -> Message:
    reader = reader_of(offer, text)
    return message_of([*reader.push(written), *reader.finish()])


def message_of(said: Sequence[Said]) -> Message:
    return Message(
        text="".join(piece for piece in said if isinstance(piece, str)),
        calls=tuple(piece for piece in said if isinstance(piece, Call)),
    )
