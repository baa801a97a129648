"""What a tokenizer is to the rest of Pollux, and how one is loaded."""

from collections.abc import Iterable
from typing import Protocol

from model.text.assets import TextAssets


class DamagedTokenizer(ValueError):
    """The tokenizer's data are truncated, inconsistent or not what they say. One line."""


class Tokenizer(Protocol):
    """Text to token ids and back. Thread-safe; ids are 0 .. vocab_size - 1.

    Plain text never becomes a control token, whatever it spells: those come from chat templates
    (model.text.chat), which know their ids.
    """

    vocab_size: int

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        """Ids of plain text, no beginning-of-sequence added. Lone surrogates count as U+FFFD.

        first: this text begins the sequence. Some vocabularies put a space before the first word
        of a sequence, and only there.
        """
        ...

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; b"" for ids without a piece, and for control tokens but
        those that are part of an answer (model.text.special.SPOKEN_NAMES)."""
        ...

    def piece(self, token: int) -> str:
        """The token for people to read: control tokens by name, broken characters as bytes."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of a whole sequence; what is not UTF-8 becomes U+FFFD."""
        ...


def load_tokenizer(assets: TextAssets) -> Tokenizer:
    """Raises DamagedTokenizer when the payload does not load."""
    if assets.kind == "sentencepiece":
        from model.text.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer(assets)
    from model.text.bpe import BpeTokenizer

    return BpeTokenizer(assets)


def display(data: bytes) -> str:
    r"""Bytes as text where they are text, else as OpenAI's API shows them: `bytes:\xe2\x80`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def well_formed(text: str) -> str:
    """The same text without lone surrogates, which JSON can carry and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
