"""Questions with known answers, as JSON lines: {"id", "question", "answer", "choices", "subject"}.

answer: as people write it ("18", "$1,200", "B"). choices: a list of option texts, which are
lettered A, B, ... and put below the question, or an object from label to text.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

MAX_LINE_BYTES = 1 << 20
MAX_CHOICES = 26


class BadDataset(ValueError):
    """A line that is no question. The message names the line."""


class _Line(msgspec.Struct, frozen=True):
    question: str
    answer: str | int | float | bool | None = None
    id: str | int | None = None
    choices: list[str] | dict[str, str] | None = None
    subject: str | None = None


@dataclass(frozen=True)
class LabelledQuestion:
    """text: what is asked, options included. answer: the true one as written, None: unknown.
    choices: label to the option's text."""

    id: str
    text: str
    answer: str | None
    choices: dict[str, str] | None = None
    subject: str | None = None

    def seed(self, base: int) -> int:
        """Of its paths: the same for the same id, whatever was asked before. 63 bits."""
        digest = hashlib.blake2b(f"{base}:{self.id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) >> 1


_decoder = msgspec.json.Decoder(_Line)


def read_questions(lines: Iterable[str | bytes]) -> Iterator[LabelledQuestion]:
    """Blank lines are skipped; a question without id is named after its line.

    Raises BadDataset at the first line that is no question, or that repeats an id.
    """
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE_BYTES:
            raise BadDataset(f"line {number}: longer than {MAX_LINE_BYTES} bytes")
        if not line.strip():
            continue
        try:
            question = _labelled(_decoder.decode(line), number)
        except (msgspec.DecodeError, UnicodeError, ValueError) as error:
            raise BadDataset(f"line {number}: {error}") from None
        if question.id in seen:
            raise BadDataset(f"line {number}: the id {question.id!r} is there twice")
        seen.add(question.id)
        yield question


def _labelled(line: _Line, number: int) -> LabelledQuestion:
    if not line.question.strip():
        raise ValueError("the question is empty")
    choices = _lettered(line.choices)
    text = line.question.rstrip()
    if choices is not None:
        text = "\n".join((text, *(f"{label}) {option}" for label, option in choices.items())))
    return LabelledQuestion(
        id=str(number if line.id is None else line.id),
        text=text,
        answer=None if line.answer is None else _written(line.answer),
        choices=choices,
        subject=line.subject,
    )


def _lettered(choices: list[str] | dict[str, str] | None) -> dict[str, str] | None:
    if choices is None:
        return None
    if not 2 <= len(choices) <= MAX_CHOICES:
        raise ValueError(f"choices must be 2 to {MAX_CHOICES}, got {len(choices)}")
    if isinstance(choices, dict):
        return choices
    return {chr(ord("A") + place): option for place, option in enumerate(choices)}


def _written(answer: str | int | float | bool) -> str:
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return str(answer)
