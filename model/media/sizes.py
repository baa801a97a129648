"""Sizes and soft tokens of media, from their dimensions alone, as transformers' processors.

gemma4_unified is Gemma 4's encoder-free model, siglip the vision tower of Gemma 3.
"""

import math

from model.media.records import SAMPLE_RATE

PATCH = 48
"""Side in pixels: three 16-pixel patches of the teacher."""
PATCH_VALUES = PATCH * PATCH * 3
BUDGETS = (70, 140, 280, 560, 1120)
"""Soft tokens that an image may take."""
IMAGE_TOKENS = 280
FRAME_TOKENS = 70
VIDEO_FRAMES = 32

AUDIO_FRAME = 640
"""Samples: 40 ms, 25 a second."""

SIGLIP_SIDE = 896
SIGLIP_TOKENS = 256
MIN_CROP = 256
MAX_CROPS = 4
MIN_RATIO = 1.2
"""Gemma 3's pan and scan: crops of images longer than this."""


def unified_size(height: int, width: int, soft_tokens: int) -> tuple[int, int]:
    """(height, width) after resizing: multiples of 48 that keep the aspect ratio, floored, with at
    most `soft_tokens` patches. A very long image keeps one row of patches, not its ratio."""
    factor = math.sqrt(soft_tokens * PATCH * PATCH / (height * width))
    rows = math.floor(factor * height / PATCH)
    columns = math.floor(factor * width / PATCH)
    if rows == 0:
        return PATCH, min(width // height, soft_tokens) * PATCH
    if columns == 0:
        return min(height // width, soft_tokens) * PATCH, PATCH
    return rows * PATCH, columns * PATCH


def unified_image_tokens(height: int, width: int, soft_tokens: int = IMAGE_TOKENS) -> int:
    """Soft tokens of an image, without those around it."""
    tall, wide = unified_size(height, width, soft_tokens)
    return (tall // PATCH) * (wide // PATCH)


def unified_audio_tokens(samples: int) -> int:
    """Soft tokens of 16 kHz sound, without those around it."""
    return -(-samples // AUDIO_FRAME)


def audio_tokens_of(seconds: float) -> int:
    return unified_audio_tokens(math.ceil(seconds * SAMPLE_RATE))


def siglip_crops(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """(top, left, height, width) of each crop of pan and scan; none for images that are nearly
    square or too small. The last is smaller where the length does not divide."""
    long, short = max(height, width), min(height, width)
    if long / short < MIN_RATIO:
        return []
    count = min(long // MIN_CROP, math.floor(long / short + 0.5))
    count = min(MAX_CROPS, max(2, count))
    side = math.ceil(long / count)
    if min(side, short) < MIN_CROP:
        return []
    starts = range(0, count * side, side)
    if width >= height:
        return [(0, start, height, min(side, width - start)) for start in starts]
    return [(start, 0, min(side, height - start), width) for start in starts]


def siglip_tokens(height: int, width: int, pan_and_scan: bool) -> int:
    """Soft tokens of an image and its crops, without those around them."""
    crops = siglip_crops(height, width) if pan_and_scan else []
    return SIGLIP_TOKENS * (1 + len(crops))
