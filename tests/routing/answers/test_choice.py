"""Choices out of nasty texts."""

import pytest

from routing.answers.choice import ChoiceExtractor
from routing.answers.options import find_options, offered

LETTERS = ChoiceExtractor(dict.fromkeys("ABCD", ""))
CITIES = ChoiceExtractor({"A": "Paris", "B": "Rome", "C": "New York", "D": "York"})
WORDS = ChoiceExtractor({"yes": "", "no": "", "cannot be determined": ""})
NUMBERS = ChoiceExtractor({"A": "3", "B": "-3", "C": "$3.50", "D": "12 and 1"})

GOOD = [
    (LETTERS, "Answer: B", "B"),
    (LETTERS, "Answer: (B)", "B"),
    (LETTERS, "Answer: B.", "B"),
    (LETTERS, "Answer: **B**", "B"),
    (LETTERS, "**Answer:** B", "B"),
    (LETTERS, "Answer: b", "B"),
    (LETTERS, "Answer: (b)", "B"),
    (LETTERS, "Answer: option B", "B"),
    (LETTERS, "Answer: \\boxed{\\text{B}}", "B"),
    (LETTERS, "So \\boxed{B}", "B"),
    (LETTERS, "The correct answer is (C).", "C"),
    (LETTERS, "B", "B"),
    (LETTERS, "(B)", "B"),
    (LETTERS, "B) because it floats", "B"),
    (LETTERS, "Answer: A", "A"),
    (LETTERS, "Answer: A because it is warm", "A"),
    (LETTERS, "Answer: B, not C", "B"),
    (LETTERS, "The answer is not B, but C", "C"),
    (LETTERS, "Answer: option A is incorrect; B is correct", "B"),
    (LETTERS, "Answer: Both A and C are wrong, so B", "B"),
    (LETTERS, "Answer: (A), (B) and (D) can be ruled out, leaving C", "C"),
    (LETTERS, "Answer: B, C is wrong", "B"),
    (LETTERS, "Answer: A cannot be right; D", "D"),
    (LETTERS, "Answer: B. C is wrong because it sinks", "B"),
    (LETTERS, "Answer: B (C would sink)", "B"),
    (LETTERS, "Answer: A\nQuestion: next one\nAnswer: D", "A"),
    (LETTERS, "Answer: A. No wait.\nAnswer: D", "D"),
    (LETTERS, "Answer: Ｂ", "B"),
    (LETTERS, 'We give the answer: "B"\n\nThe correct answer is: D)', "D"),
    (LETTERS, "Answer: B\nThe answer is clear, and not D", "B"),
    (CITIES, "Answer: Rome", "B"),
    (CITIES, "Answer: rome.", "B"),
    (CITIES, "Answer: B) Rome", "B"),
    (CITIES, "Answer: B. Rome", "B"),
    (CITIES, "Answer: New York", "C"),
    (CITIES, "Answer: York", "D"),
    (CITIES, "Answer: It is Rome, not Paris", "B"),
    (WORDS, "Answer: Yes", "yes"),
    (WORDS, "Answer: NO.", "no"),
    (WORDS, "Answer: It cannot be determined.", "cannot be determined"),
    (NUMBERS, "Answer: 3", "A"),
    (NUMBERS, "Answer: -3", "B"),
    (NUMBERS, "Answer: 3.50", "C"),
    (NUMBERS, "Answer: 12 and 1", "D"),
]

BAD = [
    (LETTERS, "", "invalid"),
    (LETTERS, "The answer is not B", "invalid"),
    (LETTERS, "The answer isn't B", "invalid"),
    (LETTERS, "Answer: not option B", "invalid"),
    (LETTERS, "Answer: it cannot be B", "invalid"),
    (LETTERS, "Answer: neither B nor C", "invalid"),
    (LETTERS, "Answer: E", "invalid"),
    (LETTERS, "Answer: A cat", "invalid"),
    (LETTERS, "Answer: Because", "invalid"),
    (LETTERS, "Answer: B or C", "ambiguous"),
    (LETTERS, "Answer: A or B", "ambiguous"),
    (LETTERS, "Answer: A, B and D", "ambiguous"),
    (LETTERS, "I like B\nand that is all", "invalid"),
    (CITIES, "Answer: B) Paris", "ambiguous"),
    (CITIES, "Answer: Berlin", "invalid"),
    (WORDS, "Answer: yes and no", "ambiguous"),
    (WORDS, "Answer: yesterday", "invalid"),
]


@pytest.mark.parametrize(("extractor", "text", "label"), GOOD)
def test_reads(extractor: ChoiceExtractor, text: str, label: str) -> None:
    found = extractor.extract(text)
    assert (found.status, found.canonical) == ("ok", label)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(("extractor", "text", "status"), BAD)
def test_refuses(extractor: ChoiceExtractor, text: str, status: str) -> None:
    assert extractor.extract(text).status == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Answer: B\nbecause", "ok"),
        ("Answer: B", "truncated"),
        ("B", "truncated"),
        ("so it must be", "truncated"),
    ],
)
def test_of_a_cut_text_only_a_finished_line_votes(text: str, status: str) -> None:
    assert LETTERS.extract(text, truncated=True).status == status


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Which?\nA) 21 B) 23\nC) 24", {"A": "21", "B": "23", "C": "24"}),
        ("Which? (A) Paris (B) Rome", {"A": "Paris", "B": "Rome"}),
        ("Which?\nA. a cat\nB. a dog\n\nThink.", {"A": "a cat", "B": "a dog"}),
        ("Which? a) x, b) y, c) z", {"A": "x", "B": "y", "C": "z"}),
        ("Options: [A)21, B)23]", {"A": "21", "B": "23]"}),
        ("Plan A. or plan B. is fine?", {}),
        ("Only (A) is given", {}),
        ("First A) 1 B) 2\nNow\nA) 3\nB) 4\nC) 5", {"A": "3", "B": "4", "C": "5"}),
        ("", {}),
    ],
)
def test_options_are_found_in_the_question(question: str, options: dict[str, str]) -> None:
    assert find_options(question) == options


def test_offered_are_the_callers_then_the_questions_then_five_letters() -> None:
    assert offered({"x": ""}, "A) 1 B) 2") == {"x": ""}
    assert offered(None, "A) 1 B) 2") == {"A": "1", "B": "2"}
    assert list(offered(None, "Is it?")) == ["A", "B", "C", "D", "E"]
