"""`exact` and `marker`."""

import pytest

from routing.answers.exact import ExactExtractor, canonical_text
from routing.answers.marker import MarkerExtractor
from routing.answers.registry import extractor_for
from routing.answers.specs import MarkerAnswer

EXACT = ExactExtractor().extract


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Answer: Paris", "paris"),
        ("answer:   PARIS. ", "paris"),
        ('Answer: "New   York"', "new york"),
        ("**Answer:** Paris**", "paris"),
        ("Answer: \\boxed{\\text{Paris}}.", "paris"),
        ("\\boxed{Paris}", "paris"),
        ("Answer: Straße", "strasse"),
        ("Answer: ﬁne", "fine"),
        ("Answer: -5", "-5"),
        ("Paris", "paris"),
        ("It is.\nAnswer: Paris\n\nQuestion: and?\nAnswer: Rome", "paris"),
        ("Answer: 東京。", "東京"),
        # Not outer punctuation: without it these would vote for another answer.
        ("Answer: .5", ".5"),
        ("Answer: C#.", "c#"),
        ("Answer: f(x).", "f(x)"),
        ("Answer: (f(x))", "f(x)"),
        ("Answer: [1, 2]", "1, 2"),
        ("### Answer: Paris ###", "paris"),
    ],
)
def test_exact_reads(text: str, canonical: str) -> None:
    found = EXACT(text)
    assert (found.status, found.canonical) == ("ok", canonical)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(
    ("text", "truncated", "status"),
    [
        ("", False, "invalid"),
        ("Answer: ...", False, "invalid"),
        ("Some thoughts.\nAnd more.", False, "invalid"),
        ("Answer: " + "x" * 201, False, "invalid"),
        ("Answer: Par", True, "truncated"),
        ("Answer: Paris\nis", True, "ok"),
        ("Par", True, "truncated"),
    ],
)
def test_exact_refuses(text: str, truncated: bool, status: str) -> None:
    assert EXACT(text, truncated=truncated).status == status


def test_canonical_text_may_be_empty_but_never_votes() -> None:
    assert canonical_text(" ... ") == ""
    assert EXACT("Answer: !!").vote is None


@pytest.mark.parametrize(
    ("pattern", "text", "canonical"),
    [
        (r"#### (.+)", "#### 4\n#### 5", "5"),
        (r"#### (.+)", "#### 4\n#### 5\nQuestion: x\n#### 6", "5"),
        (r"\d+", "1 then 22", "2"),
        (r"\b\d+\b", "1 then 22", "22"),
        (r"(?i)result=(\w+)", "RESULT=Yes", "yes"),
        (r"a|b", "xaxb", "b"),
        (r"^(\w+)$", "one", "one"),
        (r"(?m)^= (.*)$", "= 1\n= 2\nend", "2"),
    ],
)
def test_marker_takes_the_last_match(pattern: str, text: str, canonical: str) -> None:
    found = MarkerExtractor(pattern).extract(text)
    assert (found.status, found.canonical) == ("ok", canonical)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(
    ("pattern", "text", "truncated", "status"),
    [
        (r"#### (.+)", "nothing", False, "invalid"),
        (r"#### (.+)", "nothing", True, "truncated"),
        (r"#### (.+)", "#### 4", True, "truncated"),
        (r"#### (.+)", "#### 4\n", True, "ok"),
        (r"x*", "aaa", False, "invalid"),
        (r"(a)|b", "b", False, "invalid"),
    ],
)
def test_marker_refuses(pattern: str, text: str, truncated: bool, status: str) -> None:
    assert MarkerExtractor(pattern).extract(text, truncated=truncated).status == status


def test_the_default_marker_reads_the_contract_line() -> None:
    assert extractor_for(MarkerAnswer()).extract("So.\nAnswer: Rome").canonical == "rome"
