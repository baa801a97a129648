"""Every file format gives the ids, the bytes and the special tokens of its own library."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.text import bpe
from model.text.assets import TextAssets
from model.text.language import TextModel
from model.text.tokenizer import DamagedTokenizer, load_tokenizer
from tests.model.text.conftest import SOURCES, assets_of, expected, gguf_fields

anything = st.text(max_size=60)


def test_ids_are_those_of_the_vocabularys_own_library(source: str, model: TextModel) -> None:
    column = "converted" if source.endswith("json") else "ids"
    for case in expected(source)["texts"]:
        assert model.tokenizer.encode(case["text"]) == case[column], case["text"]


def test_long_texts_take_another_way_to_the_same_ids(
    monkeypatch: pytest.MonkeyPatch, source: str, model: TextModel
) -> None:
    monkeypatch.setattr(bpe, "LONG_TEXT", 0)
    test_ids_are_those_of_the_vocabularys_own_library(source, model)
    test_a_plain_prompt_begins_as_transformers_begins_it(source, model)


def test_a_plain_prompt_begins_as_transformers_begins_it(source: str, model: TextModel) -> None:
    prompt = expected(source)["prompt"]

    assert list(model.encode_text(prompt["text"])) == prompt["ids"]


@pytest.mark.parametrize("name", SOURCES)
@given(text=anything)
@example(text="a\x00b\ufeff\u200d\U0001f642\U000f0000")
def test_decoding_gives_the_text_back(models: dict[str, TextModel], name: str, text: str) -> None:
    if not name.startswith("bpe"):
        text = text.replace("\u2581", "")  # stands for a space in these vocabularies
    if name == "llama2-json":
        text = text.lstrip(" ")  # its rule: no second space before a text that starts with one
    tokenizer = models[name].tokenizer

    decoded = tokenizer.decode(tokenizer.encode(text))

    if name.startswith("bpe"):  # composes; the library and Python may know different Unicode
        decoded, text = (unicodedata.normalize("NFC", side) for side in (decoded, text))
    assert decoded == text


@pytest.mark.parametrize("name", SOURCES)
def test_lone_surrogates_count_as_replacement_characters(
    models: dict[str, TextModel], name: str
) -> None:
    tokenizer = models[name].tokenizer

    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.encode("\ud83d\ude42") == tokenizer.encode("\U0001f642")


@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data())
def test_text_never_becomes_a_control_token(
    models: dict[str, TextModel], name: str, data: st.DataObject
) -> None:
    model = models[name]
    pieces = st.sampled_from(sorted(model.assets.control))
    text = "".join(data.draw(st.lists(pieces | st.text(max_size=4), max_size=8)))

    assert not set(model.tokenizer.encode(text)) & set(model.assets.control.values())


def test_control_tokens_have_names_and_no_bytes(model: TextModel) -> None:
    for piece, token in model.assets.control.items():
        assert model.tokenizer.token_bytes(token) == b""
        assert model.tokenizer.piece(token) == piece


def test_ids_without_a_piece_have_no_bytes(model: TextModel) -> None:
    tokenizer = model.tokenizer

    assert tokenizer.vocab_size == model.assets.vocab_size
    for token in (-1, tokenizer.vocab_size, tokenizer.vocab_size + 1000):
        assert tokenizer.token_bytes(token) == b""


def test_padding_rows_of_the_vocabulary_have_no_bytes(models: dict[str, TextModel]) -> None:
    model = models["bpe-gguf"]

    assert gguf_fields("bpe")["tokenizer.ggml.tokens"][424] == "[PAD424]"
    assert model.tokenizer.token_bytes(424) == b""
    assert 424 not in model.tokenizer.encode("[PAD424]")


def test_part_of_a_character_is_shown_as_its_bytes(models: dict[str, TextModel]) -> None:
    for name in ("bpe-gguf", "gemma-gguf", "gemma-json"):
        tokenizer = models[name].tokenizer
        pieces = [tokenizer.piece(token) for token in tokenizer.encode("\U0001f682")]
        assert pieces[0].startswith("bytes:\\xf0")


def test_user_defined_pieces_that_are_not_control_match_in_text(
    models: dict[str, TextModel],
) -> None:
    assert models["bpe-gguf"].tokenizer.encode("<tool_call>") == [423]
    assert models["bpe-json"].tokenizer.encode("<tool_call>") == [423]
    lines = models["gemma-gguf"].tokenizer.encode("\n\n\n")
    assert models["gemma-gguf"].tokenizer.token_bytes(lines[0]) == b"\n\n\n"


def test_formats_agree_on_special_tokens(models: dict[str, TextModel]) -> None:
    for family in ("bpe", "gemma", "llama2"):
        same = [m.assets for name, m in models.items() if name.startswith(family)]
        assert len({(a.eos, a.bos, a.add_bos, a.chat_template) for a in same}) == 1
        assert all(a.control == same[0].control for a in same)
    gemma = models["gemma-gguf"].assets
    assert gemma.eos == (gemma.control["<eos>"], gemma.control["<end_of_turn>"])
    assert models["bpe-json"].eos == (422, 420)


def test_a_space_is_put_before_the_first_text_only(models: dict[str, TextModel]) -> None:
    tokenizer = models["llama2-json"].tokenizer

    assert tokenizer.token_bytes(tokenizer.encode("the")[0]).startswith(b" ")
    assert not tokenizer.token_bytes(tokenizer.encode("the", first=False)[0]).startswith(b" ")


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece"])
@given(payload=st.binary(max_size=40))
def test_a_damaged_payload_is_a_one_line_error(kind: str, payload: bytes) -> None:
    assets = TextAssets(
        kind="bpe" if kind == "bpe" else "sentencepiece",
        payload=payload,
        vocab_size=4,
        control={},
        eos=(),
    )

    with pytest.raises(DamagedTokenizer) as caught:
        load_tokenizer(assets)

    assert "\n" not in str(caught.value)


def test_assets_survive_the_broker(source: str, tmp_path) -> None:
    assets = assets_of(source, tmp_path)

    again = TextAssets.decode(assets.encode())

    assert again == assets
    assert again.digest() == assets.digest()


def test_fixture_vocabularies_have_every_kind_of_piece() -> None:
    assert set(gguf_fields("gemma")["tokenizer.ggml.token_type"]) == {1, 2, 3, 4, 6}
    assert set(gguf_fields("bpe")["tokenizer.ggml.token_type"]) == {1, 3, 4, 5}
