import re
from typing import Any

import pytest

from model.spec import UnsupportedModel
from model.text.gguf_assets import assets_from_gguf
from model.text.language import TextModel
from model.text.tokenizer import DamagedTokenizer
from tests.model.text.conftest import gguf_fields


def changed(family: str, **changes: Any) -> dict[str, Any]:
    """The fixture's metadata with some keys changed; None takes a key away."""
    fields = gguf_fields(family) | {f"tokenizer.ggml.{k}": v for k, v in changes.items()}
    return {key: value for key, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, "unsupported tokenizer 'bert'"),
        ({"model": None}, "has no tokenizer"),
        ({"pre": "klingon"}, "unknown pre-tokenizer 'klingon'; known are"),
        ({"pre": None}, "does not name its pre-tokenizer"),
    ],
)
def test_what_pollux_does_not_have_is_said_in_one_line(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedModel, match=re.escape(message)) as caught:
        assets_from_gguf(changed("bpe", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bpe", {"tokens": None}, "tokens is not a list of texts"),
        ("bpe", {"tokens": [1, 2]}, "tokens is not a list of texts"),
        ("bpe", {"tokens": "abc"}, "tokens is not a list"),
        ("bpe", {"token_type": [1]}, "does not match the vocabulary's size"),
        ("bpe", {"token_type": [9] * 425}, "unknown type"),
        ("bpe", {"eos_token_id": 99999}, "eos_token_id is not a token"),
        ("bpe", {"eos_token_id": -1}, "eos_token_id is not a token"),
        ("bpe", {"merges": ["a b c"]}, "not a pair"),
        ("bpe", {"merges": None}, "fits nothing"),
        ("gemma", {"scores": [0.0]}, "scores does not match"),
        ("gemma", {"scores": None}, "scores does not match"),
        ("gemma", {"token_type": [1] * 470, "unknown_token_id": None}, None),
    ],
)
def test_metadata_that_contradict_themselves_are_damaged(
    family: str, changes: dict[str, Any], message: str | None
) -> None:
    if message is None:  # without types the unknown token is known by its name
        assert assets_from_gguf(changed(family, **changes)).vocab_size == 470
        return
    with pytest.raises(DamagedTokenizer, match=message):
        assets_from_gguf(changed(family, **changes))


def test_a_chat_template_that_is_not_text_is_damaged() -> None:
    with pytest.raises(DamagedTokenizer, match="chat_template"):
        assets_from_gguf(gguf_fields("bpe") | {"tokenizer.chat_template": 5})


@pytest.mark.parametrize("wrong", [1, 4])
def test_turn_tokens_are_control_whatever_type_the_file_gives_them(wrong: int) -> None:
    types = gguf_fields("bpe")["tokenizer.ggml.token_type"]
    types[420:423] = [wrong] * 3

    model = TextModel(assets_from_gguf(changed("bpe", token_type=types)))

    assert set(model.assets.control) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert not set(model.tokenizer.encode("<|im_end|>")) & {420, 421, 422}


def test_an_ordinary_word_named_as_padding_stays_a_word() -> None:
    model = TextModel(assets_from_gguf(changed("bpe", padding_token_id=0)))
    word = gguf_fields("bpe")["tokenizer.ggml.tokens"][0]

    assert model.tokenizer.encode(word) == [0]
    assert model.assets.pad == 0


def test_merges_never_build_a_control_token() -> None:
    fields = gguf_fields("bpe")
    fields["tokenizer.ggml.tokens"][421] = "in"  # a control token that merges would spell
    fields["tokenizer.ggml.merges"] = ["i n", *fields["tokenizer.ggml.merges"]]
    fields["tokenizer.ggml.tokens"][300:420] = [f"x{i}" for i in range(120)]

    model = TextModel(assets_from_gguf(fields))

    assert 421 not in model.tokenizer.encode("in")
    assert model.tokenizer.decode(model.tokenizer.encode("in")) == "in"


def test_ends_are_the_declared_token_and_those_known_by_name() -> None:
    assert assets_from_gguf(changed("bpe")).eos == (422, 420)
    assert assets_from_gguf(changed("bpe", eos_token_id=420)).eos == (420, 422)
    assert assets_from_gguf(changed("bpe", eot_token_id=421)).eos == (422, 421, 420)


def test_a_beginning_is_added_when_file_or_family_says_so() -> None:
    silent = {"add_bos_token": None, "bos_token_id": 420}

    assert assets_from_gguf(changed("gemma", add_bos_token=None)).add_bos
    assert not assets_from_gguf(changed("gemma", add_bos_token=False)).add_bos
    assert not assets_from_gguf(changed("bpe", **silent)).add_bos
    assert assets_from_gguf(changed("bpe", **silent, pre="llama-bpe")).add_bos
    assert not assets_from_gguf(changed("bpe", add_bos_token=True, bos_token_id=None)).add_bos


@pytest.mark.parametrize(
    ("pre", "text", "tokens"),
    [
        ("gpt-2", "ab12 34!\n", ["ab", "12", "Ġ34", "!", "Ċ"]),
        ("smollm", "ab12 34!\n", ["ab", "1", "2", "Ġ", "3", "4", "!", "Ċ"]),
        ("llama-bpe", "ab1234!\n", ["ab", "123", "4", "!Ċ"]),
        ("qwen2", "ab12 (x)", ["ab", "1", "2", "Ġ(", "x", ")"]),
        ("tekken", "abCD1/\n", ["ab", "CD", "1", "/Ċ"]),
        ("deepseek-coder", "ab12\n\n", ["ab", "1", "2", "Ċ", "Ċ"]),
    ],
)
def test_text_is_cut_as_the_family_does(pre: str, text: str, tokens: list[str]) -> None:
    """Every piece wanted is in the vocabulary with its merges: only the cuts can differ."""
    alphabet = sorted({c for t in [*tokens, "Ġ34", "12", "Ġ(", "ĊĊ"] for c in t} | {"ĊĊ"})
    joined = ["12", "34", "Ġ34", "123", "1234", "!Ċ", "ab", "CD", "abCD", "/Ċ", "Ġ("]
    fields = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*alphabet, *joined],
        "tokenizer.ggml.merges": [
            *("1 2", "3 4", "Ġ 34", "12 3", "123 4", "! Ċ", "a b", "C D", "ab CD", "/ Ċ"),
            *("Ġ (", "Ċ Ċ"),
        ],
    }
    model = TextModel(assets_from_gguf(fields))

    ids = model.tokenizer.encode(text)

    assert [fields["tokenizer.ggml.tokens"][token] for token in ids] == tokens
