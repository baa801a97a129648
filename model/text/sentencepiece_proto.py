"""SentencePiece's ModelProto on the wire: enough to write one and to change its pieces.

The library reads such models but does not build them without protobuf, which nothing else here
needs. Field numbers: sentencepiece_model.proto of google/sentencepiece.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from model.text.tokenizer import DamagedTokenizer

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_BPE = 2


class PieceType(IntEnum):
    """GGUF's token types have the same numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass
class Piece:
    text: str
    score: float
    type: PieceType


@dataclass
class Model:
    """A vocabulary, and everything else of the file as it was."""

    pieces: list[Piece]
    rest: bytes

    def serialise(self) -> bytes:
        return write_pieces(self.pieces) + self.rest


def write_model(
    pieces: Sequence[Piece],
    *,
    unknown: int,
    dummy_prefix: bool,
    trim_spaces: bool,
    charsmap: bytes = b"",
) -> bytes:
    """A BPE ModelProto. dummy_prefix: a space is put before the text. trim_spaces: runs of
    spaces count as one. charsmap: the compiled normalisation rules, empty for none."""
    byte_fallback = sum(piece.type is PieceType.BYTE for piece in pieces) == 256
    trainer = b"".join(
        (
            _number(3, _BPE),
            _number(4, len(pieces)),
            _number(35, byte_fallback),
            _number(40, unknown),
            # -1: the control pieces that stand for these are known by their ids elsewhere.
            *(_number(field, -1) for field in (41, 42, 43)),
        )
    )
    normalizer = b"".join(
        (
            _string(1, b"identity" if not charsmap else b"nmt_nfkc"),
            _string(2, charsmap),
            _number(3, dummy_prefix),
            _number(4, trim_spaces),
            _number(5, True),
        )
    )
    return write_pieces(pieces) + _string(_TRAINER, trainer) + _string(_NORMALIZER, normalizer)


def write_pieces(pieces: Sequence[Piece]) -> bytes:
    floats = struct.Struct("<f")
    parts = []
    for piece in pieces:
        text = piece.text.encode()
        body = b"\x0a%b%b\x15%b\x18%c" % (
            _varint(len(text)),
            text,
            floats.pack(piece.score),
            piece.type.value,
        )
        parts.append(b"\x0a%b%b" % (_varint(len(body)), body))
    return b"".join(parts)


def read_model(data: bytes) -> Model:
    """Raises DamagedTokenizer when the bytes are not a ModelProto."""
    pieces: list[Piece] = []
    rest: list[bytes] = []
    for field, _, value, raw in _fields(data):
        if field == _PIECES and isinstance(value, bytes):
            pieces.append(_read_piece(value))
        else:
            rest.append(raw)
    if not pieces:
        raise DamagedTokenizer("the SentencePiece model has no vocabulary")
    return Model(pieces, b"".join(rest))


def _read_piece(data: bytes) -> Piece:
    piece = Piece("", 0.0, PieceType.NORMAL)
    for field, _, value, _ in _fields(data):
        try:
            if field == 1 and isinstance(value, bytes):
                piece.text = value.decode()
            elif field == 2 and isinstance(value, bytes):
                (piece.score,) = struct.unpack("<f", value)
            elif field == 3 and isinstance(value, int):
                piece.type = PieceType(value)
        except ValueError as error:
            raise DamagedTokenizer(f"the SentencePiece vocabulary is damaged: {error}") from None
    return piece


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes, bytes]]:
    """Yields (field, wire type, value, the field's own bytes)."""
    at = 0
    while at < len(data):
        start = at
        key, at = _read_varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            number, at = _read_varint(data, at)
            yield field, wire, number, data[start:at]
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
        if wire == _BYTES:
            size, at = _read_varint(data, at)
        if size < 0 or at + size > len(data):
            raise DamagedTokenizer("the SentencePiece model is truncated or not one")
        at += size
        yield field, wire, data[at - size : at], data[start:at]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise DamagedTokenizer("the SentencePiece model is truncated or not one")


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    # Negative int32 values travel as 64-bit two's complement.
    return _varint(field << 3 | _VARINT) + _varint(value & (1 << 64) - 1 if value < 0 else value)


def _string(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value
