"""Recorded polls, read from a file that may be huge, broken or not a record at all."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec

from routing.records import BadRecord, RecordedPath, RecordedQuestion, read_records

MAX_LINE = 16 << 20  # bytes: 64 paths with texts of a long context fit several times
MAX_QUESTIONS = 100_000
MAX_PATHS = 1024  # of a question
MAX_TOKENS = 10**9  # of a path
MAX_ID = 200  # characters, or an integer of 64 bits


class _Lines:
    """The lines of a stream, counted, none read whole that is longer than the limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._stream.readline(MAX_LINE + 1):
            self.number += 1
            if len(line) > MAX_LINE:
                raise BadRecord(f"line {self.number}: longer than {MAX_LINE} bytes")
            yield line


def read(stream: BinaryIO) -> list[RecordedQuestion]:
    """All questions, without their texts. Raises BadRecord, with the line where there is one."""
    questions: list[RecordedQuestion] = []
    first_line: dict[str | int, int] = {}
    lines = _Lines(stream)
    for question in read_records(lines):
        problem = _problem(question)
        if problem is None and question.id in first_line:
            problem = f"the id {question.id!r} is that of line {first_line[question.id]}"
        if problem is None and len(questions) == MAX_QUESTIONS:
            problem = f"more than {MAX_QUESTIONS} questions"
        if problem is not None:
            raise BadRecord(f"line {lines.number}: {problem}")
        first_line[question.id] = lines.number
        questions.append(_without_texts(question))
    if not questions:
        raise BadRecord("the file has no questions")
    return questions


def _problem(question: RecordedQuestion) -> str | None:
    if len(question.id) > MAX_ID if isinstance(question.id, str) else abs(question.id) >> 63:
        return f"an id must have at most {MAX_ID} characters, or 64 bits as an integer"
    if not question.paths:
        return "no path was recorded"
    if len(question.paths) > MAX_PATHS:
        return f"more than {MAX_PATHS} paths"
    paths = (*question.paths, *(() if question.cot is None else (question.cot,)))
    if not all(0 <= n <= MAX_TOKENS for n in (question.greedy_tokens, *(p.tokens for p in paths))):
        return f"tokens must be between 0 and {MAX_TOKENS}"
    if "" in (question.answer, question.greedy, *(path.answer for path in paths)):
        return "an answer is empty; null stands for none"
    return None


def _without_texts(question: RecordedQuestion) -> RecordedQuestion:
    return msgspec.structs.replace(
        question,
        paths=tuple(map(_without_text, question.paths)),
        cot=None if question.cot is None else _without_text(question.cot),
        greedy_text=None,
        question=None,
    )


def _without_text(path: RecordedPath) -> RecordedPath:
    return path if path.text is None else msgspec.structs.replace(path, text=None)


def shortest(questions: Sequence[RecordedQuestion]) -> int:
    """Paths of the question that has fewest: the largest k that can be told about."""
    return min(len(question.paths) for question in questions)
