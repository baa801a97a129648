"""Byte-pair encoding by the `tokenizers` library, from a tokenizer.json without control tokens.

Two spellings of bytes exist in such files. Byte-level ones (GPT-2, Llama 3, Qwen) write pieces in
the byte alphabet; the others (conversions of SentencePiece models) write a space as U+2581 and a
byte as `<0xNN>`.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer as Backend

from model.text.assets import TextAssets
from model.text.byte_level import bytes_of_piece
from model.text.pieces import Pieces
from model.text.tokenizer import DamagedTokenizer, well_formed

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"

LONG_TEXT = 4_096
"""Characters. `encode` holds the interpreter's lock to its end (80 ms for 60,000 characters), the
batch form does not (gaps of 5 ms); for short texts it costs more than it saves."""


class BpeTokenizer(Pieces):
    """See model.text.tokenizer.Tokenizer. Raises DamagedTokenizer when the payload is not one."""

    def __init__(self, assets: TextAssets) -> None:
        super().__init__(assets)
        try:
            description = json.loads(assets.payload)
            self._spells = _spelling(description)
            self._backend = Backend.from_buffer(assets.payload)
            self._inner = _without_first_space(description, self._backend)
        except Exception as error:  # the library raises bare Exception
            raise DamagedTokenizer(f"the tokenizer does not load: {error}") from None
        self._prefixed = self._inner is not self._backend or _prepends_space(description)
        self._added = set(self._backend.get_added_tokens_decoder())

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        backend = self._backend if first else self._inner
        text = well_formed(text)
        if len(text) < LONG_TEXT:
            ids: list[int] = backend.encode(text, add_special_tokens=False).ids
            return ids
        [encoded] = backend.encode_batch_fast([text], add_special_tokens=False)
        return list(encoded.ids)

    def _bytes(self, token: int) -> bytes:
        piece = self._backend.id_to_token(token)
        if piece is None or token in self._control:
            return b""
        if token in self._added:
            return piece.replace(_SPACE, " ").encode() if self._spells is _plain else piece.encode()
        return self._spells(piece)


def _plain(piece: str) -> bytes:
    if byte := _BYTE_PIECE.fullmatch(piece):
        return bytes([int(byte[1], 16)])
    return piece.replace(_SPACE, " ").encode()


def _components(part: Any) -> list[dict[str, Any]]:
    """A normalizer, pre-tokenizer or decoder as a flat list of its steps."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    for key in ("pretokenizers", "normalizers", "decoders"):
        if key in part:
            return [step for inner in part[key] for step in _components(inner)]
    return []


def _spelling(description: dict[str, Any]) -> Callable[[str], bytes]:
    steps = _components(description.get("pre_tokenizer"))
    steps += _components(description.get("decoder"))
    byte_level = any(step["type"] == "ByteLevel" for step in steps)
    return bytes_of_piece if byte_level else _plain


def _prepends_space(description: dict[str, Any]) -> bool:
    spaces = [
        *(step.get("prepend") == _SPACE for step in _components(description.get("normalizer"))),
        *(
            step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never"
            for step in _components(description.get("pre_tokenizer"))
        ),
    ]
    return any(spaces)


def _without_first_space(description: dict[str, Any], backend: Backend) -> Backend:
    """The tokenizer for text inside a sequence: Metaspace's scheme "first" adds no space there."""
    steps = _components(description.get("pre_tokenizer"))
    first = [step for step in steps if step.get("prepend_scheme") == "first"]
    if not first:
        return backend
    for step in first:
        step["prepend_scheme"] = "never"
    inner = Backend.from_str(json.dumps(description))
    for step in first:
        step["prepend_scheme"] = "first"
    return inner
