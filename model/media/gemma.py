"""What Gemma 4 Unified and Gemma 3's vision tower take. Pure functions of pixels and samples.

After transformers' processors (gemma4_unified, gemma3), which are the oracle of the fixtures.
Resizing is Pillow's, in 8 bits; theirs is torchvision's: where a size changes, a value differs by
one or two of 255 at most, and sizes, positions and everything else not at all.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.media.sizes import (
    AUDIO_FRAME,
    IMAGE_TOKENS,
    PATCH,
    PATCH_VALUES,
    SIGLIP_SIDE,
    siglip_crops,
    unified_audio_tokens,
    unified_size,
)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def unified_patches(pixels: Pixels, soft_tokens: int = IMAGE_TOKENS) -> Floats:
    """[H, W, 3] to [n, 6912] in [0, 1]: squares row by row, (h, w, c) inside each."""
    height, width = unified_size(pixels.shape[0], pixels.shape[1], soft_tokens)
    resized = _resized(pixels, height, width, Image.Resampling.BICUBIC)
    rows, columns = height // PATCH, width // PATCH
    squares = resized.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4)
    return squares.reshape(rows * columns, PATCH_VALUES).astype(np.float32) / np.float32(255)


def unified_positions(height: int, width: int, soft_tokens: int) -> NDArray[np.int32]:
    """[n, 2]: (x, y) of each patch of an image of this size, in the order of the patches."""
    tall, wide = unified_size(height, width, soft_tokens)
    y, x = np.divmod(np.arange((tall // PATCH) * (wide // PATCH), dtype=np.int32), wide // PATCH)
    return np.stack([x, y], axis=1).astype(np.int32)


def unified_audio(samples: Floats) -> Floats:
    """[n] to [frames, 640], the last padded with zeros."""
    count = unified_audio_tokens(len(samples))
    frames = np.zeros((count, AUDIO_FRAME), dtype=np.float32)
    frames.reshape(-1)[: len(samples)] = samples
    return frames


def siglip_image(pixels: Pixels) -> Floats:
    """[H, W, 3] to [896, 896, 3] in [-1, 1]; the aspect ratio is not kept."""
    resized = _resized(pixels, SIGLIP_SIDE, SIGLIP_SIDE, Image.Resampling.BILINEAR)
    return resized.astype(np.float32) / np.float32(127.5) - np.float32(1)


def siglip_images(pixels: Pixels, pan_and_scan: bool) -> Floats:
    """[1 + crops, 896, 896, 3], the whole image first."""
    crops = siglip_crops(pixels.shape[0], pixels.shape[1]) if pan_and_scan else []
    parts = [pixels[top : top + tall, left : left + wide] for top, left, tall, wide in crops]
    return np.stack([siglip_image(part) for part in (pixels, *parts)])


def _resized(pixels: Pixels, height: int, width: int, how: Image.Resampling) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), how), dtype=np.uint8)
