"""Everything that turns conversations into token ids and back, as one portable record.

A worker has it from its checkpoint; a gateway gets it from the checkpoint too, or over the
broker by its digest, so that a gateway machine needs no model files.
"""

import hashlib
from typing import Literal

import msgspec


class TextAssets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokenizer, control tokens and chat template of one model.

    kind: "bpe" (payload is a tokenizer.json of the `tokenizers` library, without added control
    tokens) or "sentencepiece" (payload is a serialised ModelProto).
    control: piece -> id of the tokens that only templates may produce.
    eos: ids that end a generation. add_bos: a plain prompt starts with `bos`.
    """

    kind: Literal["bpe", "sentencepiece"]
    payload: bytes
    vocab_size: int
    control: dict[str, int]
    eos: tuple[int, ...]
    bos: int | None = None
    pad: int | None = None
    add_bos: bool = False
    chat_template: str | None = None

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "TextAssets":
        return msgspec.msgpack.decode(data, type=cls)

    def digest(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()
