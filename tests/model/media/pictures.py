"""Synthetic pictures that the fixtures' maker and the tests draw alike. NumPy only."""

import numpy as np
from numpy.typing import NDArray


def textured(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """[H, W, 3]: waves, an edge and some noise, so that resizing has something to get wrong."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    random = np.random.default_rng(seed)
    waves = [
        128 + 90 * np.sin(x / 7 + y / 13 + channel) * np.cos(y / (5 + channel))
        for channel in range(3)
    ]
    picture = np.stack(waves, axis=2) + random.integers(-20, 20, (height, width, 3))
    picture[height // 3 : height // 2, width // 4 :] = 240
    return np.clip(picture, 0, 255).astype(np.uint8)
