"""What is asked of a decoder, and what comes out. Arrays are C-contiguous."""

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.records import Record

Read = Literal["image", "audio", "video"]
Family = Literal["plain", "gemma4_unified", "siglip"]

SAMPLE_RATE = 16_000
"""Hz, of all sound that comes out."""


class Job(Record, frozen=True):
    """mime: as the sender said, None for whatever the bytes are. read: what to take: an image from
    a file of one, a video's frames or its sound. family: whose preprocessing follows, if any.
    soft_tokens: budget of an image or frame (gemma4_unified). pan_and_scan: crops of long images
    (siglip). frames, fps: of a video; no more than the limit, evenly spread."""

    read: Read
    mime: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    family: Family = "plain"
    soft_tokens: int | None = None
    pan_and_scan: bool = False
    frames: Annotated[int, msgspec.Meta(ge=1)] | None = None
    fps: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Decoded(Record, frozen=True, eq=False):
    """Base of results. Compared by identity: arrays have no truth value."""


class DecodedImage(Decoded, frozen=True):
    """pixels: [H, W, 3], RGB, upright, transparency on white."""

    pixels: NDArray[np.uint8]


class DecodedAudio(Decoded, frozen=True):
    """samples: [n], mono, 16 kHz, within [-1, 1]."""

    samples: NDArray[np.float32]


class DecodedVideo(Decoded, frozen=True):
    """frames: [n, H, W, 3], RGB, upright. timestamps: [n], seconds from the first frame."""

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]


class ImagePatches(Decoded, frozen=True):
    """Gemma 4 Unified. patches: [n, 6912], 48-pixel squares row by row, (h, w, c) inside, in
    [0, 1]. positions: [n, 2], (x, y) in patches. height, width: of the image, before resizing."""

    patches: NDArray[np.float32]
    positions: NDArray[np.int32]
    height: int
    width: int


class VideoPatches(Decoded, frozen=True):
    """The same for each of f frames: patches [f, n, 6912], positions [n, 2] of every frame,
    timestamps [f] in seconds. height, width: of the frames, before resizing."""

    patches: NDArray[np.float32]
    positions: NDArray[np.int32]
    timestamps: NDArray[np.float64]
    height: int
    width: int


class AudioFrames(Decoded, frozen=True):
    """Gemma 4 Unified. frames: [n, 640], 40 ms each, the last padded with zeros. length: samples
    without padding."""

    frames: NDArray[np.float32]
    length: int


class SiglipImages(Decoded, frozen=True):
    """Gemma 3. pixels: [1 + crops, 896, 896, 3] in [-1, 1], the whole image first. height, width:
    of the image, before resizing."""

    pixels: NDArray[np.float32]
    height: int
    width: int
