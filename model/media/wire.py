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
from model.media.sizes import AUDIO_FRAME, PATCH_VALUES, SIGLIP_SIDE
from model.records import Record

LENGTHS = struct.Struct(">IQ")
MAX_HEAD_BYTES = 16 * 1024


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


_LAYOUTS: Mapping[type[Decoded], Mapping[str, tuple[str, tuple[str | int, ...]]]] = {
    DecodedImage: {"pixels": ("|u1", ("h", "w", 3))},
    DecodedAudio: {"samples": ("<f4", ("n",))},
    DecodedVideo: {"frames": ("|u1", ("f", "h", "w", 3)), "timestamps": ("<f8", ("f",))},
    ImagePatches: {"patches": ("<f4", ("n", PATCH_VALUES)), "positions": ("<i4", ("n", 2))},
    VideoPatches: {
        "patches": ("<f4", ("f", "n", PATCH_VALUES)),
        "positions": ("<i4", ("n", 2)),
        "timestamps": ("<f8", ("f",)),
    },
    AudioFrames: {"frames": ("<f4", ("n", AUDIO_FRAME))},
    SiglipImages: {"pixels": ("<f4", ("n", SIGLIP_SIDE, SIGLIP_SIDE, 3))},
}
"""Arrays of each record: type, in little-endian bytes, and sizes; equal letters are equal sizes."""
_KINDS = {kind.__name__: kind for kind in _LAYOUTS}

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
    layout = _LAYOUTS[type(result)]
    arrays = [
        np.ascontiguousarray(getattr(result, name), dtype=dtype)
        for name, (dtype, _) in layout.items()
    ]
    head = msgspec.msgpack.encode(
        Answered(
            kind=type(result).__name__,
            shapes=tuple(Shape(sizes=array.shape) for array in arrays),
            numbers={
                name: getattr(result, name)
                for name in type(result).__struct_fields__
                if name not in layout
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
    layout = _LAYOUTS[kind]
    if len(said.shapes) != len(layout):
        raise BadReply
    if {*layout, *said.numbers} != set(kind.__struct_fields__) or layout.keys() & said.numbers:
        raise BadReply
    fields: dict[str, Any] = dict(said.numbers)
    letters: dict[str, int] = {}
    at = 0
    for (name, (dtype, sizes)), shape in zip(layout.items(), said.shapes, strict=True):
        size = _bytes_of(shape.sizes, dtype, sizes, letters)
        if at + size > len(body):
            raise BadReply
        array: NDArray[Any] = np.frombuffer(body[at : at + size], dtype=dtype)
        fields[name] = array.reshape(shape.sizes)
        at += size
    if at != len(body):
        raise BadReply
    return kind(**fields)


def _bytes_of(
    sizes: tuple[int, ...],
    dtype: str,
    expected: tuple[str | int, ...],
    letters: dict[str, int],
) -> int:
    """letters: sizes that are known so far; more are added. Raises BadReply."""
    if len(sizes) != len(expected):
        raise BadReply
    count = np.dtype(dtype).itemsize
    for size, wanted in zip(sizes, expected, strict=True):
        known = letters.setdefault(wanted, size) if isinstance(wanted, str) else wanted
        if size < 1 or size != known:
            raise BadReply
        count *= size
    return count
