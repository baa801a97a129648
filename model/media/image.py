"""Still images and animations, with Pillow. Colour profiles are not applied."""

import warnings
from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.media.errors import BadMedia, decoding
from model.media.kinds import Kind
from model.media.limits import MAX_ANIMATION_FRAMES, MAX_SIDE, MediaLimits
from model.media.sampling import evenly

Pixels = NDArray[np.uint8]

_ORIENTATION_TAG = 0x0112
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),
}
"""EXIF orientations: from stored to upright pixels."""
STRIP_PIXELS = 1 << 20
"""Converted at a time: a whole image in each of its forms would be several times as much."""
DEFAULT_FRAME_S = 0.1
"""Of an animation that gives none, as browsers show it."""


def decode_image(data: bytes, kind: Kind, limits: MediaLimits) -> Pixels:
    """[H, W, 3]; of an animation the first frame. Raises BadMedia."""
    with decoding(), _opened(data, kind, limits) as image:
        image.load()
        return _pixels(image)


def decode_animation(
    data: bytes,
    kind: Kind,
    limits: MediaLimits,
    wanted: int,
    each: Callable[[Pixels], NDArray[np.generic]],
) -> tuple[list[NDArray[np.generic]], list[float]]:
    """`wanted` frames spread evenly over the frames that there are, as `each` makes them, with
    their times in seconds. Raises BadMedia."""
    taken: list[NDArray[np.generic]] = []
    times: list[float] = []
    with decoding(), _opened(data, kind, limits) as image:
        total = getattr(image, "n_frames", 1)
        if total > MAX_ANIMATION_FRAMES:
            raise BadMedia("frames")
        chosen = set(evenly(total, wanted))
        now = 0.0
        for index in range(max(chosen) + 1):
            image.seek(index)
            image.load()
            if index in chosen:
                taken.append(each(_pixels(image)))
                times.append(now)
            now += (image.info.get("duration") or 0) / 1000 or DEFAULT_FRAME_S
            if now > limits.seconds:
                raise BadMedia("seconds")
    return taken, times


def _opened(data: bytes, kind: Kind, limits: MediaLimits) -> Image.Image:
    """The header is read, nothing decoded. Raises BadMedia and what Pillow raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image: Image.Image = Image.open(BytesIO(data), formats=[kind.reader])
        except Image.DecompressionBombError:
            raise BadMedia("pixels") from None
    width, height = image.size
    if min(width, height) < 1:
        raise BadMedia("unreadable")
    if width * height > limits.pixels or max(width, height) > MAX_SIDE:
        raise BadMedia("pixels")
    return image


def _pixels(image: Image.Image) -> Pixels:
    turn = _UPRIGHT.get(_orientation(image))
    width, height = image.size
    whole = np.empty((height, width, 3), dtype=np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        whole[top:bottom] = _strip(image.crop((0, top, width, bottom)))
    return whole if turn is None else np.ascontiguousarray(turn(whole))


def _strip(image: Image.Image) -> Pixels:
    """In RGB; what is transparent lies on white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.clip(np.asarray(image, dtype=np.int64), 0, 65_535)
        return ((wide * 255 + 32_767) // 65_535).astype(np.uint8)[..., None]
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
    rgba = np.asarray(image.convert("RGBA"), dtype=np.uint32)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """1, upright, where the EXIF data is damaged: it is a remark, not the image."""
    try:
        said = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return said if isinstance(said, int) else 1
