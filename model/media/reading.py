"""One job from bytes to arrays: what the decoding process does."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.media import gemma, sizes
from model.media.errors import BadMedia
from model.media.image import decode_animation, decode_image
from model.media.jobs import check
from model.media.kinds import kind_of
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
from model.media.sound import decode_audio
from model.media.video import decode_video


def read(data: bytes, job: Job, limits: MediaLimits) -> Decoded:
    """Raises BadMedia, and InvalidParameter for the job."""
    check(job)
    kind = kind_of(data, job.mime, job.read)
    if job.read == "image":
        return _image(decode_image(data, kind, limits), job)
    if job.read == "audio":
        samples = decode_audio(data, kind, job.mime, limits)
        if job.family == "plain":
            return DecodedAudio(samples=samples)
        return AudioFrames(frames=gemma.unified_audio(samples), length=len(samples))
    return _video(data, job, limits)


def _image(pixels: NDArray[np.uint8], job: Job) -> Decoded:
    height, width = pixels.shape[:2]
    if job.family == "plain":
        return DecodedImage(pixels=pixels)
    if job.family == "siglip":
        shown = gemma.siglip_images(pixels, job.pan_and_scan)
        return SiglipImages(pixels=shown, height=height, width=width)
    budget = job.soft_tokens or sizes.IMAGE_TOKENS
    return ImagePatches(
        patches=gemma.unified_patches(pixels, budget),
        positions=gemma.unified_positions(height, width, budget),
        height=height,
        width=width,
    )


def _video(data: bytes, job: Job, limits: MediaLimits) -> Decoded:
    kind = kind_of(data, job.mime, job.read)
    budget = job.soft_tokens or sizes.FRAME_TOKENS
    wanted = min(job.frames or limits.frames, limits.frames)
    collect = _Frames(job.family == "plain", budget, limits)
    if kind.is_image:
        taken, times = decode_animation(data, kind, limits, wanted, collect)
    else:
        taken, times = decode_video(data, kind, limits, wanted, job.fps, collect)
    height, width = collect.size
    timestamps = np.asarray(times, dtype=np.float64)
    if job.family == "plain":
        return DecodedVideo(frames=np.stack(taken).astype(np.uint8), timestamps=timestamps)
    return VideoPatches(
        patches=np.stack(taken).astype(np.float32),
        positions=gemma.unified_positions(height, width, budget),
        timestamps=timestamps,
        height=height,
        width=width,
    )


class _Frames:
    """Each frame is made small as soon as it is decoded. size: of the first; a stream that changes
    its size is not read."""

    def __init__(self, plain: bool, budget: int, limits: MediaLimits) -> None:
        self._made: Callable[[NDArray[np.uint8]], NDArray[np.generic]] = (
            (lambda pixels: pixels)
            if plain
            else (lambda pixels: gemma.unified_patches(pixels, budget))
        )
        self._left = limits.result_bytes
        self.size = (0, 0)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        size = (pixels.shape[0], pixels.shape[1])
        if self.size not in ((0, 0), size):
            raise BadMedia("unreadable")
        self.size = size
        made = self._made(pixels)
        self._left -= made.nbytes
        if self._left < 0:
            raise BadMedia("result")
        return made
