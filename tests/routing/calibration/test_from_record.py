"""Records from files that may be huge, broken or no record at all."""

import io
import json
from typing import Any

import pytest

from routing.calibration import from_record
from routing.calibration.from_record import read, shortest
from routing.records import BadRecord


def line(**changes: Any) -> bytes:
    question = {
        "id": 1,
        "answer": "4",
        "greedy": "5",
        "question": "2+2?",
        "greedy_text": "Answer: 5",
        "cot": {"answer": "4", "text": "So 4."},
        "paths": [{"answer": "4", "tokens": 3, "text": "It is 4."}, {"answer": None}],
    }
    return json.dumps({**question, **changes}).encode() + b"\n"


def test_questions_are_read_without_the_texts_that_nothing_needs() -> None:
    first, second = read(io.BytesIO(line() + b"\n" + line(id="1", answer=None, cot=None)))
    assert first.question is first.greedy_text is first.paths[0].text is None
    assert first.cot is not None
    assert first.cot.text is None
    assert (first.paths[0].answer, first.paths[0].tokens) == ("4", 3)
    assert (second.id, second.answer) == ("1", None)
    assert shortest([first, second]) == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{,\n", "line 3: JSON is malformed"),
        (line(id=1), "line 3: the id 1 is that of line 1"),
        (line(id=2, paths=[]), "line 3: no path was recorded"),
        (line(id=2, paths=[{"answer": ""}]), "line 3: an answer is empty"),
        (line(id=2, greedy=""), "line 3: an answer is empty"),
        (line(id=2, paths=[{"answer": "4", "tokens": -1}]), "line 3: tokens must be"),
        (line(id=2, paths=[{"answer": "4", "tokens": 10**30}]), "line 3: tokens must be"),
        (line(id=2, greedy_tokens=-5), "line 3: tokens must be"),
        (line(id=2, paths=[{"answer": "4"}] * 1025), "line 3: more than 1024 paths"),
        (line(id=2, paths="none"), "line 3: Expected `array`"),
        (line(id=2**63), "line 3: an id must have"),
        (line(id="x" * 201), "line 3: an id must have"),
        (line(id=2).replace(b'"id": 2', b'"id": ' + b"7" * 5000), "line 3: "),
        (b"\xff\xfe\n", "line 3: "),
    ],
)
def test_a_bad_line_is_named(bad: bytes, message: str) -> None:
    with pytest.raises(BadRecord) as error:
        read(io.BytesIO(line() + b"\n" + bad))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_empty_file_is_no_record() -> None:
    with pytest.raises(BadRecord, match="no questions"):
        read(io.BytesIO(b"\n\n"))


def test_a_line_without_end_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_record, "MAX_LINE", 1000)

    class Endless(io.RawIOBase):
        served = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.served += len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(BadRecord, match="line 1: longer than 1000 bytes"):
        read(io.BufferedReader(endless))  # type: ignore[type-var]
    assert endless.served < 100_000


def test_more_questions_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_record, "MAX_QUESTIONS", 2)
    with pytest.raises(BadRecord, match="line 3: more than 2 questions"):
        read(io.BytesIO(b"".join(line(id=n) for n in range(3))))
