"""SentencePiece models (Gemma, Llama 2), by the SentencePiece library.

The library never produces CONTROL pieces from text; USER_DEFINED pieces (Gemma's runs of newlines
and spaces) do match. Source: "special symbols" in the library's documentation, pinned by tests.
"""

from sentencepiece import SentencePieceProcessor

from model.text.assets import TextAssets
from model.text.pieces import Pieces
from model.text.tokenizer import DamagedTokenizer, well_formed

_SPACE = "\u2581"
_REPLACEMENT = "\ufffd".encode()


class SentencePieceTokenizer(Pieces):
    """See model.text.tokenizer.Tokenizer. Raises DamagedTokenizer when the model does not load."""

    def __init__(self, assets: TextAssets) -> None:
        super().__init__(assets)
        try:
            self._model = SentencePieceProcessor(model_proto=assets.payload)
            self._pieces = self._model.vocab_size()
            self._prefixed = any(p.startswith(_SPACE) for p in self._model.encode_as_pieces("a"))
        except Exception as error:  # the library raises RuntimeError and bare Exception
            raise DamagedTokenizer(f"the SentencePiece model does not load: {error}") from None

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        ids: list[int] = self._model.encode(well_formed(text))
        return ids

    def _bytes(self, token: int) -> bytes:
        model = self._model
        if token >= self._pieces or token in self._control:
            return b""
        if model.IsControl(token) or model.IsUnused(token):
            return b""
        if model.IsUnknown(token):
            return _REPLACEMENT
        piece = model.IdToPiece(token)
        if model.IsByte(token):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(_SPACE, " ").encode()
