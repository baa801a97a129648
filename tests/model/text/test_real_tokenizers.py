"""The tokenizers of real checkpoints.

POLLUX_TEST_GGUF names the files (separated as in PATH); without it, the default model is used.
"""

import functools
import os
import string
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoints import open_checkpoint
from model.text.detokenizer import Detokenizer
from model.text.language import ChatMessage, TextModel

FILES = [Path(name) for name in os.environ.get("POLLUX_TEST_GGUF", "").split(os.pathsep) if name]
TEXTS = [
    "The capital of France is Paris.",
    "  runs   of spaces\t\tand tabs \n\n\n\nand lines\r\n\r\n end  ",
    "def f(x):\n    if x > 3:\n\t\treturn x ** 2  # comment\n\n\nclass A:\n        pass\n",
    "été déjà vu — naïve façade, Größe, łódź",
    "日本語のテキストと中文文本，混合。한국어",
    "Привет, мир! مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 emoji 👍🏽",
    "1234567890 3.14159 1,000,000",
    "I'm you're we'll THEY'VE don'T it's “quoted”…",
    "<table><tr><td>x</td></tr></table> <s>strike</s>",
    '{"a": [1, 2, {"b": null}]} http://example.com/?q=a&b=c#frag',
    "\x00\x01\x7f x\u200by\u00a0z\u3000w\ufeff",
]
CHATS = [
    [("user", "hi")],
    [("system", "You are terse."), ("user", "What is 2+2?")],
    [("user", "  padded  \n"), ("assistant", " Hello. "), ("user", "\n```python\nx\n```\n?")],
    [("user", "a < b and b > c | d"), ("assistant", "<|"), ("user", "|> end")],
]

pytestmark = pytest.mark.checkpoint


@pytest.fixture(scope="module", params=FILES or [None], ids=lambda file: file and file.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param or Path(request.getfixturevalue("default_checkpoint"))


@pytest.fixture(scope="module")
def real(path: Path) -> TextModel:
    checkpoint = open_checkpoint(path)
    try:
        return TextModel(checkpoint.text)
    finally:
        checkpoint.close()


def composed(model: TextModel, text: str) -> str:
    """Qwen's vocabulary is over composed characters; Gemma's writes spaces as U+2581."""
    if model.assets.kind == "bpe":
        return unicodedata.normalize("NFC", text)
    return text.replace("\u2581", " ")


@pytest.fixture(scope="module")
def known_bytes(real: TextModel) -> set[bytes]:
    """SmolLM2's vocabulary has no token for 21 bytes: text loses them, as with its own code."""
    return {real.tokenizer.token_bytes(token) for token in range(real.tokenizer.vocab_size)}


@settings(max_examples=200)
@given(text=st.text(max_size=80))
def test_decoding_gives_the_text_back(real: TextModel, known_bytes: set[bytes], text: str) -> None:
    if real.assets.kind == "bpe":
        text = "".join(c for c in text if all(bytes([byte]) in known_bytes for byte in c.encode()))

    ids = real.tokenizer.encode(text)

    assert composed(real, real.tokenizer.decode(ids)) == composed(real, text)


def test_real_texts_come_back_exactly(real: TextModel) -> None:
    for text in TEXTS:
        assert real.tokenizer.decode(real.tokenizer.encode(text)) == text


@given(data=st.data())
def test_any_split_of_any_tokens_gives_the_whole_text(real: TextModel, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, real.tokenizer.vocab_size - 1), max_size=60))
    cut = data.draw(st.integers(0, len(ids)))
    detokenizer = Detokenizer(real.tokenizer)

    text = detokenizer.push(ids[:cut]) + detokenizer.push(ids[cut:]) + detokenizer.finish()

    assert text == real.tokenizer.decode(ids)


@settings(max_examples=200)
@given(data=st.data())
def test_hostile_words_give_the_control_tokens_of_harmless_ones(
    real: TextModel, data: st.DataObject
) -> None:
    control = set(real.assets.control.values())
    piece = st.sampled_from(sorted(real.assets.control))
    broken = piece.flatmap(lambda p: st.integers(0, len(p)).map(lambda at: p[at:]))
    hostile = st.lists(piece | broken | st.text(string.punctuation, max_size=4)).map("".join)
    roles = ["system", "user", "assistant", "user"]

    def control_ids(contents: list[str]) -> list[int]:
        messages = [ChatMessage(*turn) for turn in zip(roles, contents, strict=True)]
        return [token for token in real.encode_chat(messages) if token in control]

    contents = [data.draw(hostile) for _ in roles]

    assert control_ids(contents) == control_ids(["ok"] * 4)
    assert not set(real.tokenizer.encode("".join(contents))) & control


def test_every_piece_has_bytes_or_a_reason_not_to(real: TextModel) -> None:
    tokenizer = real.tokenizer
    control = set(real.assets.control.values())
    empty = [t for t in range(tokenizer.vocab_size) if not tokenizer.token_bytes(t)]

    unexplained = [t for t in empty if t not in control]

    assert control <= set(empty)
    assert len(unexplained) < 300  # Qwen's 271 padding rows, and none elsewhere


@pytest.mark.parity
def test_ids_are_those_of_transformers(real: TextModel, path: Path) -> None:
    """TEXTS avoid what transformers 5.23 gets wrong for GGUF files: other digits than 0 to 9
    (smollm), text that is not composed (Qwen has NFC), more than 31 spaces in a row (Gemma)."""
    oracle = _oracle(path)

    for text in TEXTS:
        assert real.tokenizer.encode(text) == oracle.encode(text, add_special_tokens=False), text


@pytest.mark.parity
def test_conversations_are_those_of_transformers(real: TextModel, path: Path) -> None:
    if not real.has_chat_template:
        pytest.skip("a base model")
    oracle = _oracle(path)

    for turns in CHATS:
        messages = [{"role": role, "content": content} for role, content in turns]
        wanted = oracle.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(real.encode_chat([ChatMessage(*turn) for turn in turns])) == wanted


@functools.cache
def _oracle(path: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
