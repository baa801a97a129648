"""Questions with known answers, from the lines that people have."""

import json

import pytest

from routing.calibration.dataset import MAX_LINE_BYTES, BadDataset, LabelledQuestion, read_questions


def lines(*objects: object) -> list[str]:
    return [json.dumps(item) for item in objects]


def one(**fields: object) -> LabelledQuestion:
    (question,) = read_questions(lines({"question": "How many?", **fields}))
    return question


def test_choices_are_lettered_below_the_question() -> None:
    question = one(id="q", choices=["4", "5"], answer="B")
    assert question.text == "How many?\nA) 4\nB) 5"
    assert question.choices == {"A": "4", "B": "5"}
    assert question.answer == "B"


def test_choices_may_bring_their_labels() -> None:
    assert one(choices={"X": "4", "Y": "5"}).text == "How many?\nX) 4\nY) 5"


@pytest.mark.parametrize(
    ("answer", "written"), [(18, "18"), (0.5, "0.5"), (True, "yes"), ("$1,200", "$1,200")]
)
def test_an_answer_need_not_be_a_string(answer: object, written: str) -> None:
    assert one(answer=answer).answer == written


def test_a_question_without_id_is_named_after_its_line() -> None:
    questions = list(read_questions(["", *lines({"question": "a"}, {"question": "b"})]))
    assert [question.id for question in questions] == ["2", "3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: "),
        ('{"answer": "4"}', "line 2: Object missing required field `question`"),
        ('{"question": " "}', "line 2: the question is empty"),
        ('{"question": "a", "choices": ["x"]}', "line 2: choices must be 2 to 26, got 1"),
        ('{"question": "a", "id": "first"}', "line 2: the id 'first' is there twice"),
        (" " * (MAX_LINE_BYTES + 1), "line 2: longer than"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(BadDataset, match=f"^{message.replace('[', '.')}"):
        list(read_questions([*lines({"question": "a", "id": "first"}), line]))


def test_a_seed_depends_on_the_id_and_on_nothing_else() -> None:
    assert one(id="a").seed(1) == one(id="a", answer="4").seed(1)
    assert len({one(id="a").seed(1), one(id="b").seed(1), one(id="a").seed(2)}) == 3
    assert 0 <= one(id="a").seed(1) < 2**63
