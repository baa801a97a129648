"""Labels out of nasty texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.answers.label import LabelExtractor
from routing.answers.phrases import find_phrases, fold, folded

MOOD = LabelExtractor(
    {"positive": ("pos", "good"), "very positive": (), "negative": ("bad",), "neutral": ()}
)
OTHER = LabelExtractor({"Straße": (), "C++": (), "not applicable": (), "café": (), "好": ("良",)})

GOOD = [
    (MOOD, "Answer: positive", "positive"),
    (MOOD, "Answer: **Positive**.", "positive"),
    (MOOD, "Answer: <POSITIVE>", "positive"),
    (MOOD, "Answer: ｐｏｓｉｔｉｖｅ", "positive"),
    (MOOD, "Answer: pos", "positive"),
    (MOOD, "Answer: It is very  positive", "very positive"),
    (MOOD, "Answer: \\boxed{\\text{negative}}", "negative"),
    (MOOD, "neutral", "neutral"),
    (MOOD, "The answer is bad.", "negative"),
    (MOOD, "Answer: not negative but good", "positive"),
    (MOOD, "Answer: positive is wrong; neutral", "neutral"),
    (MOOD, "Answer: neither positive nor negative, neutral", "neutral"),
    (MOOD, "Answer: positive, since bad words are rare", "positive"),
    (MOOD, "Answer: good, positive", "positive"),
    (MOOD, "Answer: bad\n\nText: fine\nQuestion: which?\nAnswer: good", "negative"),
    (MOOD, "Respuesta: negative", "negative"),
    (OTHER, "Answer: STRASSE", "Straße"),
    (OTHER, "Answer: C++.", "C++"),
    (OTHER, "Answer: not applicable", "not applicable"),
    (OTHER, "Answer: cafe\u0301", "café"),
    (OTHER, "答案：很好。", "好"),
]

BAD = [
    ("", "invalid"),
    ("Answer: great", "invalid"),
    ("Answer: not positive", "invalid"),
    ("Answer: non-positive", "invalid"),
    ("Answer: positivity", "invalid"),
    ("Answer: badly", "invalid"),
    ("Answer: positive or negative", "ambiguous"),
    ("Answer: good and bad", "ambiguous"),
    ("Answer: positive, very positive", "ambiguous"),
    ("It was good.\nNot bad at all.", "invalid"),
]


@pytest.mark.parametrize(("extractor", "text", "label"), GOOD)
def test_reads(extractor: LabelExtractor, text: str, label: str) -> None:
    found = extractor.extract(text)
    assert (found.status, found.canonical) == ("ok", label)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(("text", "status"), BAD)
def test_refuses(text: str, status: str) -> None:
    assert MOOD.extract(text).status == status


@pytest.mark.parametrize(
    ("text", "status"), [("Answer: bad\n", "ok"), ("Answer: bad", "truncated")]
)
def test_of_a_cut_text_only_a_finished_line_votes(text: str, status: str) -> None:
    assert MOOD.extract(text, truncated=True).status == status


@given(st.text(max_size=50))
def test_every_folded_character_knows_where_it_comes_from(text: str) -> None:
    seen = folded(text)
    assert len(seen.origins) == len(seen.text) + 1
    assert list(seen.origins) == sorted(seen.origins)
    assert seen.origins[-1] == len(text)


@given(st.lists(st.sampled_from(["good", "bad", "so", "GOOD", "goodness"]), max_size=6))
def test_phrases_are_whole_words_in_order(words: list[str]) -> None:
    found = find_phrases(" ".join(words), {"good": "g", "bad": "b"})
    letters = {"good": "g", "bad": "b"}
    assert [mention.label for mention in found] == [
        letters[fold(word)] for word in words if fold(word) in letters
    ]
