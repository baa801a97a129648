"""Any text at all: no exception, spans inside the text, and megabytes of spite in linear time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.answers.base import Extractor
from routing.answers.boolean import BooleanExtractor
from routing.answers.boxed import BoxedExtractor
from routing.answers.choice import ChoiceExtractor
from routing.answers.exact import ExactExtractor
from routing.answers.json_answer import MAX_VOTE_CHARS, JsonExtractor
from routing.answers.label import LabelExtractor
from routing.answers.marker import MarkerExtractor
from routing.answers.mathematics import MathExtractor
from routing.answers.number import NumberExtractor
from routing.answers.options import find_options
from routing.answers.patterns import DEFAULT_PATTERN

EXTRACTORS: list[Extractor] = [
    NumberExtractor(),
    ChoiceExtractor(dict.fromkeys("ABCDE", "")),
    ChoiceExtractor({"A": "Paris", "B": "New York", "C": "-3", "D": "York"}),
    ExactExtractor(),
    MarkerExtractor(DEFAULT_PATTERN),
    MarkerExtractor(r"(a+)+b?"),
    BooleanExtractor(),
    BooleanExtractor("A", "not A"),
    LabelExtractor({"A": ("answer",), "not": ("\ufb01",), "New York": ("x.",), "٤": ()}),
    BoxedExtractor(),
    JsonExtractor(),
    JsonExtractor({"type": "array", "uniqueItems": True, "items": {"pattern": "(a+)+$"}}, "/0"),
]

# Whole words and signs that extractors react to, "|" between them.
WORDS = (
    r"Answer:|answer is|**|\boxed{|}|\frac{1}{2}|\text{|Question:|1,234.5|-|−|$|€|%|/|10^|e9|²|½|٤"
    r"|A|B)|(c)|not |because|<think>|</think>|#### |=|x|.|New York|İ|ﬁ|Answer|New|'|＄|yes|No"
    r"|isn't |答案：|Antwort: |```json|[|]|:|,|1e9|null|\left|\sqrt|^|_|\text|$$|\(|\)|&|\\"
)
JSON_WORDS = ['"a"', '"', "{", "\\ud8", '{"a": 1}', "[1, "]
FRAGMENTS = st.sampled_from(
    [*WORDS.split("|"), *JSON_WORDS, "\n", " ", "\ud800", "\x00", "\U0001d7d8"]
)
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


REALISTIC = [
    "First 3 * 4 = 12, then 12 - 5 = 7.\n\n**Answer:** $1,234.00\n\nQuestion: How many?\nAnswer: 5",
    "We get \\[\\boxed{\\frac{3}{4}}\\] so the answer is not B, but (C).",
    "<think>Maybe no?</think>\nIt is not true, because it isn't.\nAnswer: No, that is wrong.",
    'So:\n```json\n{"answer": [1, {"x": "}\\""}], "why": null}\n```\nAnswer: {"answer": [1.0]}',
    "思考。\n答案：Ｂ\nОтвет: −٤٢%\nRéponse : 1 234,5 €",
]


@given(
    text=st.sampled_from(REALISTIC),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    put=st.lists(FRAGMENTS, min_size=4, max_size=4),
    truncated=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_no_mutation_of_a_real_text_raises(
    text: str, cuts: list[int], put: list[str], truncated: bool
) -> None:
    for cut, fragment in zip(cuts, put, strict=False):
        text = text[:cut] + fragment + text[cut + len(fragment) :]
    for extractor in EXTRACTORS:
        found = extractor.extract(text, truncated=truncated)
        assert found.span is None or text[slice(*found.span)] == found.raw


@given(text=TEXTS)
@settings(max_examples=25, deadline=None)
def test_mathematics_reads_any_text_too(text: str) -> None:
    found = MathExtractor().extract(text)
    assert found.span is None or text[slice(*found.span)] == found.raw


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_a_run_on_question_after_a_finished_answer_changes_nothing(text: str) -> None:
    answered = "Thus.\nAnswer: 42\n"
    for extractor in EXTRACTORS[:1] + EXTRACTORS[3:5]:
        alone = extractor.extract(answered)
        with_more = extractor.extract(f"{answered}\nQuestion: {text}")
        if any(tag in text for tag in ("<think", "</think", "thought>")):
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
    "words": "Answer: " + "yes no " * 140_000,
    "braces": "{" * 1_000_000,
    "brackets": "[" * 1_000_000,
    "openings": '["' * 500_000,
    "members": 'Answer: {"a":' * 80_000,
    "fences": "```json\n" * 125_000,
    "values": "```json\n[1]\n" * 80_000,
    "fractions": "Answer: " + "\\frac" * 200_000,
    "dollars": "Answer: " + "$" * 1_000_000,
    "answers abroad": "答案：" * 300_000,
    "marks": "Answer: e" + "\u0301" * 500_000,
}


@pytest.mark.parametrize("name", SPITE)
def test_a_megabyte_of_spite_is_read_like_any_text(name: str) -> None:
    for extractor in EXTRACTORS:
        for truncated in (False, True):
            found = extractor.extract(SPITE[name], truncated=truncated)
            # What votes is short, whatever it was read from.
            longest = MAX_VOTE_CHARS if isinstance(extractor, JsonExtractor) else 400
            assert found.vote is None or len(found.vote) <= longest
    assert len(find_options(SPITE[name])) <= 26
