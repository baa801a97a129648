"""The tokenizer that comes with a checkpoint, its errors told in the checkpoint's words."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from model.checkpoints.base import DamagedCheckpoint
from model.spec import UnsupportedModel
from model.text.assets import TextAssets
from model.text.gguf_assets import assets_from_gguf
from model.text.hf_assets import assets_from_folder
from model.text.tokenizer import DamagedTokenizer


def text_of_gguf(fields: Mapping[str, Any], rows: int) -> TextAssets:
    """rows: of the embedding table, which every token must have. Raises DamagedCheckpoint."""
    with _in_our_words():
        return _fitting(assets_from_gguf(fields), rows)


def text_of_folder(folder: Path, rows: int) -> TextAssets:
    with _in_our_words():
        return _fitting(assets_from_folder(folder), rows)


def _fitting(text: TextAssets, rows: int) -> TextAssets:
    """The same assets, every field of the type it should have: they come out of JSON."""
    try:
        text = TextAssets.decode(text.encode())
    except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError) as error:
        raise DamagedTokenizer(str(error)) from None
    if text.vocab_size > rows:
        raise DamagedCheckpoint(
            f"the tokenizer has {text.vocab_size} tokens, the embedding table {rows} rows"
        )
    return text


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except DamagedTokenizer as error:
        raise DamagedCheckpoint(f"damaged tokenizer: {_one_line(error)}") from None
    except UnsupportedModel as error:
        raise UnsupportedModel(_one_line(error)) from None


def _one_line(error: Exception) -> str:
    """Some of it may be quoted from the file."""
    return " ".join(str(error).split())[:300]
