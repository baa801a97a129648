"""Yes and no out of nasty texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.answers.boolean import BooleanExtractor

ENGLISH = BooleanExtractor()
GERMAN = BooleanExtractor("ja", "nein")
VERDICT = BooleanExtractor("guilty", "not guilty")
CHINESE = BooleanExtractor("是", "不是")

GOOD = [
    (ENGLISH, "Answer: yes", "yes"),
    (ENGLISH, "Answer: **No**.", "no"),
    (ENGLISH, "Answer: TRUE", "yes"),
    (ENGLISH, "Answer: \\boxed{\\text{False}}", "no"),
    (ENGLISH, "Yes!", "yes"),
    (ENGLISH, "Ｙｅｓ", "yes"),
    (ENGLISH, "Answer: No, it is not.", "no"),
    (ENGLISH, "Answer: no, that is incorrect", "no"),
    (ENGLISH, "Answer: Yes, that is correct", "yes"),
    (ENGLISH, "Answer: Yes, it is not a prime", "yes"),
    (ENGLISH, "Answer: No. Yes would be wrong", "no"),
    (ENGLISH, "Answer: not true", "no"),
    (ENGLISH, "Answer: It isn't true", "no"),
    (ENGLISH, "Answer: It is not false", "yes"),
    (ENGLISH, "Answer: not incorrect", "yes"),
    (ENGLISH, "Answer: not necessarily true", "no"),
    (ENGLISH, "Answer: It is not.", "no"),
    (ENGLISH, "Answer: They do, because both are even", "yes"),
    (ENGLISH, "Answer: It cannot.", "no"),
    (ENGLISH, "The answer is no", "no"),
    (ENGLISH, "Answer: The right answer is no", "no"),
    (ENGLISH, "Answer: no doubt yes", "yes"),
    (ENGLISH, "Answer: It is not the case that it is true", "no"),
    (ENGLISH, "Answer: I don't think that's correct", "no"),
    (ENGLISH, "17 has no divisors but 1 and itself, so yes", "yes"),
    (ENGLISH, "Answer: It has no divisors and is true to form; hence yes.", "yes"),
    (ENGLISH, "Answer: the correct number is even, so no", "no"),
    (ENGLISH, "Answer: No, so it is false", "no"),
    (ENGLISH, "Answer: Yes (it is not false)", "yes"),
    (ENGLISH, "Answer: yes\n\nQuestion: Is 2 odd?\nAnswer: no", "yes"),
    (ENGLISH, "Answer: no. Wait.\nAnswer: yes", "yes"),
    (ENGLISH, "<think>Answer: no</think>Answer: yes", "yes"),
    (ENGLISH, "答案：yes", "yes"),
    (GERMAN, "Antwort: Nein, das stimmt nicht", "nein"),
    (GERMAN, "Antwort: JA.", "ja"),
    (GERMAN, "Answer: yes", "ja"),
    (VERDICT, "Answer: not guilty", "not guilty"),
    (VERDICT, "Answer: He is guilty", "guilty"),
    (CHINESE, "答案：是的", "是"),
    (CHINESE, "答案：他不是。", "不是"),
]

BAD = [
    ("", "invalid"),
    ("Answer: perhaps", "invalid"),
    ("Answer: It cannot be determined", "invalid"),
    ("Answer: nobody", "invalid"),
    ("Answer: a yes-man", "invalid"),
    ("Answer: No one knows", "invalid"),
    ("Answer: 7", "invalid"),
    ("Answer: the correct number is 5", "invalid"),
    ("Answer: There are no such numbers", "invalid"),
    ("Answer: No, so yes", "ambiguous"),
    ("I thought about it.\nAnd about that.", "invalid"),
    ("<think>Answer: yes", "invalid"),
    ("Answer: yes and no", "ambiguous"),
    ("Answer: yes or no", "ambiguous"),
    ("Answer: yes/no", "ambiguous"),
    ("Answer: Yes, no", "ambiguous"),
    ("Answer: Yes, but no.", "ambiguous"),
    ("Answer: Maybe yes", "ambiguous"),
    ("Answer: I'm not sure, yes", "ambiguous"),
    ("Answer: it depends, no", "ambiguous"),
]


@pytest.mark.parametrize(("extractor", "text", "vote"), GOOD)
def test_reads(extractor: BooleanExtractor, text: str, vote: str) -> None:
    found = extractor.extract(text)
    assert (found.status, found.canonical) == ("ok", vote)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(("text", "status"), BAD)
def test_refuses(text: str, status: str) -> None:
    assert ENGLISH.extract(text).status == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Answer: no\nas", "ok"),
        ("Answer: no", "truncated"),
        ("no", "truncated"),
        ("Answer: yes and", "truncated"),
    ],
)
def test_of_a_cut_text_only_a_finished_line_votes(text: str, status: str) -> None:
    assert ENGLISH.extract(text, truncated=True).status == status


@given(st.sampled_from(["yes", "true", "correct", "no", "false", "wrong"]))
def test_a_not_before_a_word_turns_it_round(word: str) -> None:
    plain = ENGLISH.extract(f"Answer: it is {word}").vote
    turned = ENGLISH.extract(f"Answer: it is not {word}").vote
    assert {plain, turned} == {"yes", "no"}


@given(st.sampled_from(["{}", "{}.", "**{}**", '"{}"', "{}, because it is", "({})"]), st.booleans())
def test_the_two_words_of_a_caller_read_back(form: str, truth: bool) -> None:
    for extractor in (ENGLISH, GERMAN, VERDICT, CHINESE):
        word = extractor.true if truth else extractor.false
        assert extractor.extract("Answer: " + form.format(word)).vote == word
