"""Constraints of answers behind reasoning, with real grammars over a vocabulary of bytes."""

import pytest

from model.contract import Constraint, SamplingParams
from model.engine.constraints import Constraints
from model.engine.guide import Guide
from service.api.thinking.prompting import Thoughts, bounded
from service.api.thinking.wish import Wish
from tests.service.support import THINK_CONTROL, THINK_TEMPLATE, VOCABULARY, tiny_text

TEXT = tiny_text(THINK_TEMPLATE, THINK_CONTROL)
THOUGHTS = Thoughts(TEXT.thinking, opened=True)
GRAMMARS = Constraints.of(TEXT, VOCABULARY)
CLOSING = TEXT.encode_marks("\n</think>\n\n")


def written(constraint: Constraint, words: str, max_tokens: int = 100) -> str:
    """What stands in a path that samples these words and then an end of sequence."""
    sampling = SamplingParams(max_tokens=max_tokens, constraint=constraint)
    guide = Guide(sampling, GRAMMARS.compile(constraint).result())
    tokens: list[int] = []
    for token in (*TEXT.encode_marks(words), 303):
        tokens += guide.place(token, token == 303)
        if guide.complete:
            break
    return TEXT.tokenizer.decode([token for token in tokens if token != 303])


def test_reasoning_has_no_more_tokens_than_its_bound_and_the_answer_is_free() -> None:
    bound = bounded(None, THOUGHTS, TEXT, Wish(budget=5), 100)
    assert bound == Constraint(after="</think>", closing=CLOSING, reserve=95)
    assert written(bound, "abcdefg") == "abcde\n</think>\n\nfg"
    assert written(bound, "abc</think>defghijk") == "abc</think>defghijk"
    assert written(bound, "abc") == "abc\n</think>\n\n"


@pytest.mark.parametrize(
    "form", [Constraint(regex="[0-9]+x"), Constraint(json_schema='{"type": "integer"}')]
)
def test_a_form_holds_behind_the_reasoning_with_line_feeds_or_without(form: Constraint) -> None:
    held = bounded(form, THOUGHTS, TEXT, Wish(), 100)
    answer = "12x" if form.regex else "12"
    for space in ("", "\n", "\n\n"):
        said = f"hm 7y</think>{space}{answer}"
        assert written(held, said) == said
    assert written(held, "hm") == "hm\n</think>\n\n"


def test_a_form_without_reasoning_is_as_it_was() -> None:
    form = Constraint(regex="a")
    assert bounded(form, None, TEXT, Wish(budget=5), 100) is form
