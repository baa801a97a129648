"""Recorded polls: what every rule would have done, and that lossless ones change no answer."""

import json
import random
from fractions import Fraction

import pytest

from routing.records import BadRecord, RecordedQuestion, read_records, replay
from routing.stopping import min_votes

LINE = (
    '{"id": "q1", "answer": "4", "greedy": "5", "paths": '
    '[{"answer": "4", "tokens": 10}, {"answer": null, "tokens": 20}, {"answer": "4", "tokens": 5}]}'
)


def synthetic(questions: int, k: int, seed: int) -> list[RecordedQuestion]:
    """Questions from easy to hopeless, with invalid paths, few or many rivals."""
    source = random.Random(seed)
    lines = []
    for number in range(questions):
        p, invalid = source.random(), source.random() / 4
        rivals = source.choice([1, 3, 50])

        def answer(p: float = p, invalid: float = invalid, rivals: int = rivals) -> str | None:
            if source.random() < invalid:
                return None
            return "0" if source.random() < p else str(source.randint(1, rivals))

        paths = [{"answer": answer(), "tokens": source.randint(1, 99)} for _ in range(k)]
        record = {"id": number, "answer": "0", "greedy": answer(), "paths": paths}
        lines.append(json.dumps(record))
    return list(read_records(lines))


def test_a_recorded_line_is_read_and_replayed() -> None:
    (question,) = read_records([LINE, "", "  \n"])
    assert question.paths[1].answer is None
    plain = replay(question, 3, 2, "plain")
    assert (plain.verdict.route, plain.verdict.answer) == ("majority", "4")
    assert (plain.used, plain.tokens) == (3, 35)
    other = replay(question, 3, 2, "plain", order=[0, 2, 1])
    assert (other.used, other.tokens) == (2, 15)
    assert other.verdict == plain.verdict


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"id": 1}', LINE.replace("10", '"ten"'), LINE.replace("[{", "[5,{")]
)
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(BadRecord, match=r"^line 2: "):
        list(read_records([LINE, line]))


@pytest.mark.parametrize("line", [b'{"id": "\xff"}', b'{"id": ' + b"[" * 100_000])
def test_bytes_that_are_no_text_or_nest_without_end_are_a_bad_line(line: bytes) -> None:
    with pytest.raises(BadRecord, match=r"^line 1: "):
        list(read_records([line]))


def test_too_few_recorded_paths_are_refused() -> None:
    (question,) = read_records([LINE])
    with pytest.raises(BadRecord, match="3 paths recorded, 4 asked"):
        replay(question, 4, 2)


def test_lossless_rules_change_no_answer_and_greedy_first_uses_fewest_paths() -> None:
    k = 32
    questions = synthetic(400, k, seed=7)
    for tau in ("0.2", "0.5", "0.6", "0.7", "0.8"):
        m = min_votes(k, Fraction(tau))
        used = {"plain": 0, "greedy_first": 0}
        for question in questions:
            full = replay(question, k, m, "all")
            plain, first = replay(question, k, m, "plain"), replay(question, k, m)
            assert plain.verdict == full.verdict
            assert first.verdict.answer == full.verdict.answer
            assert first.used <= plain.used <= full.used == k
            used["plain"] += plain.used
            used["greedy_first"] += first.used
        assert used["greedy_first"] < used["plain"] < k * len(questions)
