"""What all vocabularies share: from token ids to bytes, names and text."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from model.text.assets import TextAssets
from model.text.special import SPOKEN_NAMES
from model.text.tokenizer import display


class Pieces(ABC):
    """The reading half of model.text.tokenizer.Tokenizer; bytes are looked up once per token."""

    _prefixed: bool
    """Whether the tokenizer puts a space before the first word of a sequence."""

    def __init__(self, assets: TextAssets) -> None:
        self.vocab_size = assets.vocab_size
        self._control = {token: piece for piece, token in assets.control.items()}
        self._table: list[bytes | None] = [None] * self.vocab_size
        for name in SPOKEN_NAMES:
            token = assets.control.get(name)
            if token is not None and 0 <= token < self.vocab_size:
                self._table[token] = name.encode()

    @abstractmethod
    def _bytes(self, token: int) -> bytes:
        """Of an id within the vocabulary."""

    def token_bytes(self, token: int) -> bytes:
        if not 0 <= token < self.vocab_size:
            return b""
        known = self._table[token]
        if known is None:
            known = self._table[token] = self._bytes(token)
        return known

    def piece(self, token: int) -> str:
        return self._control.get(token) or display(self.token_bytes(token))

    def decode(self, tokens: Iterable[int]) -> str:
        text = b"".join(map(self.token_bytes, tokens)).decode(errors="replace")
        return text.removeprefix(" ") if self._prefixed else text
