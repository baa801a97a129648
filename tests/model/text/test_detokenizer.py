import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.detokenizer import Detokenizer
from model.text.language import TextModel
from tests.model.text.conftest import SOURCES

NAMES = [name for name in SOURCES if not name.startswith("llama2")]  # no prefix to take off


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_split_of_any_tokens_gives_the_whole_text(
    models: dict[str, TextModel], name: str, data: st.DataObject
) -> None:
    tokenizer = models[name].tokenizer
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=6)))
    detokenizer = Detokenizer(tokenizer)

    parts = [
        detokenizer.push(ids[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True)
    ]

    assert "".join(parts) + detokenizer.finish() == tokenizer.decode(ids)


def test_a_character_comes_once_all_its_bytes_have(models: dict[str, TextModel]) -> None:
    tokenizer = models["gemma-gguf"].tokenizer
    ids = [
        token for token in tokenizer.encode("\U0001f682") if tokenizer.token_bytes(token) != b" "
    ]
    detokenizer = Detokenizer(tokenizer)

    texts = [detokenizer.push([token]) for token in ids]

    assert len(ids) == 4
    assert texts == ["", "", "", "\U0001f682"]


def test_what_never_completes_ends_as_a_replacement_character(
    models: dict[str, TextModel],
) -> None:
    tokenizer = models["bpe-gguf"].tokenizer
    first = tokenizer.encode("\U0001f682")[0]
    detokenizer = Detokenizer(tokenizer)

    assert detokenizer.push([first]) == ""
    assert detokenizer.finish() == "\ufffd"
    assert detokenizer.finish() == ""
    assert detokenizer.push(tokenizer.encode("again")) == "again"


def test_a_space_before_the_first_word_is_kept(models: dict[str, TextModel]) -> None:
    tokenizer = models["llama2-gguf"].tokenizer

    assert Detokenizer(tokenizer).push(tokenizer.encode("the")) == " the"
    assert tokenizer.decode(tokenizer.encode("the")) == "the"
