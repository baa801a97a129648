"""Jobs and results between the gateway and its decoding processes: msgpack heads, raw bodies.

A message is `>IQ` (lengths of head and body), the head, the body. Both sides check lengths before
they take memory, and the gateway believes nothing about a result that it has not checked: the
process may have been taken over by what it decoded. No pickle.
"""

import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.media.errors import Reason
from model.media.limits import MediaLimits
from model.media.records import (
    AudioFrames,
    Decoded,
    DecodedAudio,
    DecodedImage,
    DecodedVideo,
    ImagePatches,
    Job,
    SiglipImages,
    VideoPatches,
)
from model.records import Record

LENGTHS = struct.Struct(">IQ")
MAX_HEAD_BYTES = 16 * 1024
MAX_DIMENSIONS = 4


class Asked(Record, frozen=True):
    """Head of a job; the body is the content."""

    job: Job
    limits: MediaLimits


class Shape(Record, frozen=True):
    """Of one array of the body, in the order of the record's fields."""

    sizes: tuple[int, ...]


class Answered(Record, frozen=True):
    """Head of a result. failed: why there is none. kind: the record's name; numbers: its fields
    that are no arrays."""

    failed: Reason | None = None
    kind: str = ""
    shapes: tuple[Shape, ...] = ()
    numbers: dict[str, int] = msgspec.field(default_factory=dict)


class BadReply(Exception):
    """The process answered something that no decoder of ours would."""


_DTYPES: Mapping[type[Decoded], Mapping[str, tuple[str, int]]] = {
    DecodedImage: {"pixels": ("|u1", 3)},
    DecodedAudio: {"samples": ("<f4", 1)},
    DecodedVideo: {"frames": ("|u1", 4), "timestamps": ("<f8", 1)},
    ImagePatches: {"patches": ("<f4", 2), "positions": ("<i4", 2)},
    VideoPatches: {"patches": ("<f4", 3), "positions": ("<i4", 2), "timestamps": ("<f8", 1)},
    AudioFrames: {"frames": ("<f4", 2)},
    SiglipImages: {"pixels": ("<f4", 4)},
}
"""Arrays of each record: type in little-endian bytes, dimensions."""
_KINDS = {kind.__name__: kind for kind in _DTYPES}

_ANSWERED = msgspec.msgpack.Decoder(Answered)
_ASKED = msgspec.msgpack.Decoder(Asked)


def asked(job: Job, limits: MediaLimits, length: int) -> bytes:
    """What goes before the content's `length` bytes."""
    head = msgspec.msgpack.encode(Asked(job=job, limits=limits))
    return LENGTHS.pack(len(head), length) + head


def read_asked(head: bytes) -> Asked:
    return _ASKED.decode(head)


def failure(reason: Reason) -> bytes:
    head = msgspec.msgpack.encode(Answered(failed=reason))
    return LENGTHS.pack(len(head), 0) + head


def answered(result: Decoded) -> tuple[bytes, list[memoryview]]:
    """The start of the message, and the arrays that follow."""
    names = _DTYPES[type(result)]
    arrays = [
        np.ascontiguousarray(getattr(result, name), dtype=dtype)
        for name, (dtype, _) in names.items()
    ]
    head = msgspec.msgpack.encode(
        Answered(
            kind=type(result).__name__,
            shapes=tuple(Shape(sizes=array.shape) for array in arrays),
            numbers={
                name: getattr(result, name)
                for name in type(result).__struct_fields__
                if name not in names
            },
        )
    )
    body = sum(array.nbytes for array in arrays)
    return LENGTHS.pack(len(head), body) + head, [array.data.cast("B") for array in arrays]


def read_answered(head: bytes, body: memoryview) -> Decoded | Reason:
    """Arrays are views of the body. Raises BadReply."""
    try:
        said = _ANSWERED.decode(head)
    except msgspec.DecodeError:
        raise BadReply from None
    if said.failed is not None:
        return said.failed
    kind = _KINDS.get(said.kind)
    if kind is None:
        raise BadReply
    names = _DTYPES[kind]
    if len(said.shapes) != len(names):
        raise BadReply
    fields: dict[str, Any] = {}
    at = 0
    for (name, (dtype, dimensions)), shape in zip(names.items(), said.shapes, strict=True):
        size = _bytes_of(shape.sizes, dtype, dimensions)
        if at + size > len(body):
            raise BadReply
        array: NDArray[Any] = np.frombuffer(body[at : at + size], dtype=dtype)
        fields[name] = array.reshape(shape.sizes)
        at += size
    if at != len(body):
        raise BadReply
    fields.update(said.numbers)
    if fields.keys() != set(kind.__struct_fields__):
        raise BadReply
    return kind(**fields)


def _bytes_of(sizes: tuple[int, ...], dtype: str, dimensions: int) -> int:
    if len(sizes) != dimensions or any(size < 1 for size in sizes):
        raise BadReply
    count = np.dtype(dtype).itemsize
    for size in sizes:
        count *= size
    return count
