"""Media in a prompt: what the model sees of them, and what stands for them among token ids."""

import hashlib
import math
from typing import Annotated, Literal, Self

import msgspec

from model.records import Record

MAX_SOFT_TOKENS = 2**16
MAX_MEDIA_BYTES = 2**28
"""Of one medium, model-ready."""

MediaKind = Literal["image"]
MediaDtype = Literal["uint8", "float32"]
_ITEM_BYTES: dict[MediaDtype, int] = {"uint8": 1, "float32": 4}


class MediaSegment(Record, frozen=True, tag="media"):
    """One medium, model-ready: so many soft tokens, with `placeholder` for each in token ids.

    hash: of all that decides what the model sees, dimensions included. Segments with one hash are
    one medium to every cache, so whoever makes a segment vouches for it; `of` hashes all of `data`.
    data: an array of `shape` and `dtype`, row-major, little-endian. Of an image [H, H, 3], H the
    model's image size (`ModelCard.vision`): uint8 as decoded and resized, or float32 normalised.
    """

    kind: MediaKind
    hash: Annotated[bytes, msgspec.Meta(min_length=16, max_length=64)]
    tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_SOFT_TOKENS)]
    placeholder: Annotated[int, msgspec.Meta(ge=0)]
    shape: Annotated[tuple[int, ...], msgspec.Meta(max_length=4)]
    dtype: MediaDtype
    data: Annotated[bytes, msgspec.Meta(max_length=MAX_MEDIA_BYTES)]

    @classmethod
    def of(
        cls,
        kind: MediaKind,
        data: bytes,
        shape: tuple[int, ...],
        dtype: MediaDtype,
        *,
        tokens: int,
        placeholder: int,
    ) -> Self:
        digest = hashlib.blake2b(f"{kind} {dtype} {shape}".encode(), person=b"pollux-media")
        digest.update(data)
        return cls(kind, digest.digest()[:32], tokens, placeholder, shape, dtype, data)

    @property
    def ids(self) -> tuple[int, ...]:
        return (self.placeholder,) * self.tokens

    @property
    def is_complete(self) -> bool:
        """The data is as long as shape and dtype say."""
        return all(size > 0 for size in self.shape) and math.prod(self.shape) * _ITEM_BYTES[
            self.dtype
        ] == len(self.data)

    def __len__(self) -> int:
        return self.tokens

    def __repr__(self) -> str:
        return f"MediaSegment({self.kind}, {self.hash.hex()}, {self.tokens} tokens)"
