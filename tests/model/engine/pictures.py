"""Images for tests of the engine: a tiny image encoder's, by the number of the image."""

from collections.abc import Sequence

import numpy as np

from model.contract import MediaSegment, Prompt, TokenSegment
from model.spec import VisionSpec

PLACEHOLDER = 40
SOFT = 6
VISION = VisionSpec(
    image_size=2,
    patch_size=1,
    d_model=4,
    d_ff=4,
    layers=1,
    heads=1,
    tokens=SOFT,
    placeholder=PLACEHOLDER,
)


def picture(number: int) -> MediaSegment:
    pixels = np.full((2, 2, 3), number, np.uint8)
    return MediaSegment.of(
        "image", pixels.tobytes(), pixels.shape, "uint8", tokens=SOFT, placeholder=PLACEHOLDER
    )


def prompt_of(*parts: Sequence[int] | MediaSegment) -> Prompt:
    """Runs of token ids and images, in order."""
    return Prompt(
        segments=tuple(
            part if isinstance(part, MediaSegment) else TokenSegment(ids=tuple(part))
            for part in parts
        )
    )
