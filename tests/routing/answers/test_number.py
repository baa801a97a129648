"""Numbers out of nasty texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.answers import numerals
from routing.answers.number import NumberExtractor

EXTRACT = NumberExtractor().extract

GOOD = {
    "Answer: 42": "42",
    "answer : 42": "42",
    "ANSWER: 42": "42",
    "**Answer:** 42": "42",
    "**Answer: 42**": "42",
    "Final answer: 42": "42",
    "### Answer\n\n42": "42",
    "Answer:\n\n42": "42",
    "Answer: 42.": "42",
    "Answer: 42.0": "42",
    "Answer: 042": "42",
    "Answer: +42": "42",
    "Answer: <42>": "42",
    "Answer: `42`": "42",
    "Answer: \\boxed{42}": "42",
    "Answer: $\\boxed{42}$": "42",
    "Thus \\[\\boxed{-7}\\]": "-7",
    "So \\boxed{\\frac{3}{4}} it is": "0.75",
    "Answer: \\dfrac{ 1 }{ 3 }": "1/3",
    "The answer is 42.": "42",
    "The correct answer would be: 42 apples": "42",
    "#### 42": "42",
    "So, the final answer: 42": "42",
    "6 times 7, so my answer: 42": "42",
    "> **Answer**: 42": "42",
    # currency, thousands, units
    "Answer: $1,234.00": "1234",
    "Answer: $29.00": "29",
    "Answer: \\$18": "18",
    "Answer: 1,234,567 people": "1234567",
    "Answer: 12,34,567": "1234567",
    "Answer: 1 234 567": "1234567",
    "Answer: 1\u202f234\u202f567": "1234567",
    "Answer: 1'234'567": "1234567",
    "Answer: 1_000": "1000",
    "Answer: 1.234.567": "1234567",
    "Answer: 1.234,50 €": "1234.5",
    "Answer: 0,125": "0.125",
    "Answer: 12,5": "12.5",
    "Answer: 1.234": "1.234",
    "Answer: 5kg": "5",
    "Answer: 25 m²": "25",
    "Answer: €5": "5",
    # "million" is part of the number
    "Answer: 1.5 million": "1500000",
    "Answer: 3 Billion people": "3000000000",
    "Answer: ½ million": "500000",
    "Answer: $5M": "5000000",
    "Answer: $1.2bn (2019)": "1200000000",
    "Answer: 5M": "5",
    "Answer: 3 millionaires": "3",
    # signs
    "Answer: -5": "-5",
    "Answer: −5": "-5",
    "Answer: –5": "-5",
    "Answer: - 5": "-5",
    "Answer: -$5": "-5",
    "Answer: $-5": "-5",
    "Answer: -0": "0",
    "Answer: x = -3/4": "-0.75",
    "Answer: the temperature is -12 degrees": "-12",
    # percent, fractions, powers
    "Answer: 45%": "45",
    "Answer: 45 percent": "45",
    "Answer: 3/4": "0.75",
    "Answer: 2/6": "1/3",
    "Answer: 1 1/2 cups": "1.5",
    "Answer: 3½": "3.5",
    "Answer: ⅔": "2/3",
    "Answer: 1.2e3": "1200",
    "Answer: 1.2 × 10^3": "1200",
    "Answer: 5 \\times 10^{-2}": "0.05",
    "Answer: 10⁵": "100000",
    "Answer: .5": "0.5",
    # other scripts
    "Answer: ٤٢": "42",
    "Answer: ४२": "42",
    "Ａｎｓｗｅｒ：４２": "42",
    "Answer: ١٬٢٣٤٫٥": "1234.5",
    # equations, explanations, last of several
    "Answer: 6 * 7 = 42": "42",
    "Answer: 42 because 6 * 7 is 42": "42",
    "Answer: 42 (that is 6 times 7)": "42",
    "Answer: 42. We multiplied 6 by 7": "42",
    "Answer: 42, 42": "42",
    "Answer: 41\nWait, that is wrong.\nAnswer: 42": "42",
    "Answer: 42\n\nAnswer:": "42",
    "The answer is 41. Let me check.\nAnswer: 42": "42",
    # run-on exemplars
    "Answer: 42\n\nQuestion: How many?\nAnswer: 7": "42",
    "Answer: 42\nQ: 3+4?\nA: 7\nThe answer is 7. Answer: 7": "42",
    "Answer: 42\n**Question 2:** Next\nAnswer: 7": "42",
    "Answer: 42\nUser: and 3+4?\nAssistant: Answer: 7": "42",
    "Answer: 42<|im_end|>\n<|im_start|>user\nx\nAnswer: 7": "42",
    "So it is \\boxed{42}\n\nProblem: x\n\\boxed{7}": "42",
    # thinking
    "<think>Answer: 1</think>Answer: 42": "42",
    # no contract line
    "42": "42",
    "She bought 3 apples and 4 pears.\nIn total she has 7.": "7",
    "3 + 4 = 7": "7",
}

BAD = {
    "": "invalid",
    "no idea": "invalid",
    "Answer: forty-two": "invalid",
    "Answer: <number>": "invalid",
    "Answer: H2O": "invalid",
    "I had 3 and then 4": "ambiguous",
    "Answer: 3 or 4": "ambiguous",
    "Answer: between 3 and 4": "ambiguous",
    "Answer: 3-4": "ambiguous",
    "Answer: 12:30": "ambiguous",
    "Answer: 1.234 €": "ambiguous",
    "Answer: €1.234": "ambiguous",
    "Answer: 1,2,3": "ambiguous",
    "Answer: 1.2.3": "ambiguous",
    "Answer: 1,234,5": "ambiguous",
    "Answer: 5²": "ambiguous",
    "Answer: 2^5": "ambiguous",
    "Answer: 1/0": "ambiguous",
    "Answer: x = 5, y = 6": "ambiguous",
    "Answer: 1e999999999": "ambiguous",
    "Answer: 10^1000000000": "ambiguous",
    "Answer: 10**10**9": "ambiguous",
    "Answer: " + "9" * 61: "ambiguous",
    "<think>Answer: 42": "invalid",
}

CUT = {
    "Answer: 42\nand on": ("ok", "42"),
    "Answer: 42. And": ("ok", "42"),
    "Answer: 42\n\nQuestion: and": ("ok", "42"),
    "So \\boxed{42} is": ("ok", "42"),
    "Answer: 42": ("truncated", None),
    "Answer: 42 ": ("truncated", None),
    "Answer: 42 times": ("truncated", None),
    "Answer:": ("truncated", None),
    "She has 42": ("truncated", None),
    "So \\boxed{4": ("truncated", None),
    "<think>hm": ("truncated", None),
    "": ("truncated", None),
}


@pytest.mark.parametrize(("text", "canonical"), GOOD.items())
def test_reads(text: str, canonical: str) -> None:
    found = EXTRACT(text)
    assert (found.status, found.canonical) == ("ok", canonical)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(("text", "status"), BAD.items())
def test_refuses(text: str, status: str) -> None:
    found = EXTRACT(text)
    assert (found.status, found.canonical) == (status, None)


@pytest.mark.parametrize(("text", "expected"), CUT.items())
def test_of_a_cut_text_only_a_finished_answer_votes(
    text: str, expected: tuple[str, str | None]
) -> None:
    found = EXTRACT(text, truncated=True)
    assert (found.status, found.canonical) == expected


@given(st.fractions(max_denominator=10**6), st.sampled_from(["Answer: {}", "The answer is {}."]))
def test_canonical_numbers_read_back_as_themselves(value, form) -> None:  # type: ignore[no-untyped-def]
    written = numerals.canonical(value)
    assert EXTRACT(form.format(written)).canonical == written


@given(st.integers(-(10**15), 10**15))
def test_spellings_of_an_integer_vote_together(value: int) -> None:
    for spelling in (f"{value}", f"{value:,}", f"{value:_}", f"{value}.00", f"{value:,}.0"):
        assert EXTRACT(f"Answer: {spelling}").canonical == str(value)


@pytest.mark.parametrize("text", ["Answer: 4.", "Answer: 12!", "The answer is 3."])
def test_a_text_cut_behind_a_point_may_go_on_with_decimals(text: str) -> None:
    assert EXTRACT(text, truncated=True).status == "truncated"
    assert EXTRACT(text + "\n", truncated=True).status == "ok"
