"""Any text at all: no exception, spans inside the text, and megabytes of spite in linear time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.answers.base import Extractor
from routing.answers.choice import ChoiceExtractor
from routing.answers.exact import ExactExtractor
from routing.answers.marker import MarkerExtractor
from routing.answers.number import NumberExtractor
from routing.answers.options import find_options
from routing.answers.specs import DEFAULT_PATTERN

EXTRACTORS: list[Extractor] = [
    NumberExtractor(),
    ChoiceExtractor(dict.fromkeys("ABCDE", "")),
    ChoiceExtractor({"A": "Paris", "B": "New York", "C": "-3", "D": "York"}),
    ExactExtractor(),
    MarkerExtractor(DEFAULT_PATTERN),
    MarkerExtractor(r"(a+)+b?"),
]

# Whole words and signs that extractors react to, "|" between them.
WORDS = (
    r"Answer:|answer is|**|\boxed{|}|\frac{1}{2}|\text{|Question:|1,234.5|-|−|$|€|%|/|10^|e9|²|½|٤"
    r"|A|B)|(c)|not |because|<think>|</think>|#### |=|x|.|New York|İ|ﬁ|Answer|New|'|＄"
)
FRAGMENTS = st.sampled_from([*WORDS.split("|"), "\n", " ", "\ud800", "\x00", "\U0001d7d8"])
TEXTS = st.one_of(
    st.lists(FRAGMENTS, max_size=30).map("".join),
    st.text(st.characters(exclude_categories=()), max_size=200),
)


@given(text=TEXTS, truncated=st.booleans())
@settings(max_examples=400, deadline=None)
def test_no_text_raises_and_spans_are_inside(text: str, truncated: bool) -> None:
    for extractor in EXTRACTORS:
        found = extractor.extract(text, truncated=truncated)
        if found.span is None:
            assert found.raw == ""
        else:
            begin, end = found.span
            assert 0 <= begin <= end <= len(text)
            assert text[begin:end] == found.raw
        if found.status == "truncated":
            assert truncated
        assert (found.vote is not None) == (found.status == "ok")
        if isinstance(extractor, ChoiceExtractor) and found.vote is not None:
            assert found.vote in extractor.choices


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_a_run_on_question_after_a_finished_answer_changes_nothing(text: str) -> None:
    answered = "Thus.\nAnswer: 42\n"
    for extractor in EXTRACTORS[:1] + EXTRACTORS[3:5]:
        alone = extractor.extract(answered)
        with_more = extractor.extract(f"{answered}\nQuestion: {text}")
        if "<think>" in text or "</think>" in text:
            continue
        assert (with_more.canonical, with_more.span) == (alone.canonical, alone.span)


@given(text=TEXTS)
def test_options_of_any_question_run_from_a(text: str) -> None:
    labels = list(find_options(text))
    assert labels == [chr(ord("A") + place) for place in range(len(labels))]


SPITE = {
    "letters": "a" * 1_000_000,
    "digits": "9" * 1_000_000,
    "answers": "Answer: " * 125_000,
    "empty answer lines": "Answer:\n" * 125_000,
    "answer, then blank lines": "Answer:" + "\n" * 1_000_000,
    "questions": "Answer: 1\n" + "Question:\n" * 100_000,
    "opening boxes": "\\boxed{" * 140_000,
    "nested boxes": "Answer: " + "\\boxed{" * 140_000 + "}" * 20_000,
    "thinking": "<think>" * 140_000,
    "thought": "</think>" * 125_000,
    "spaces": "Answer: " + " " * 1_000_000,
    "groups": "Answer: " + "1," * 500_000,
    "signs": "Answer: " + "-" * 1_000_000,
    "negations": "Answer: " + "not " * 250_000 + "B",
    "hashes": "#" * 1_000_000,
    "stars": "*" * 1_000_000,
    "arabic": "Answer: " + "٤" * 500_000,
    "half characters": "\ud800" * 500_000,
    "letters alone": "B " * 500_000,
    "options": "(A) x (B) y " * 80_000,
}


@pytest.mark.parametrize("name", SPITE)
def test_a_megabyte_of_spite_is_read_like_any_text(name: str) -> None:
    for extractor in EXTRACTORS:
        for truncated in (False, True):
            found = extractor.extract(SPITE[name], truncated=truncated)
            # What votes is short, whatever it was read from.
            assert found.vote is None or len(found.vote) <= 200
    assert len(find_options(SPITE[name])) <= 26
