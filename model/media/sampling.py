"""Which frames of a video are taken. Pure."""

import math
from itertools import pairwise

_INSTANT = 1e-6
"""What rounding may move a time by, in seconds."""


def evenly(total: int, wanted: int) -> list[int]:
    """Indices of at most `wanted` of `total` frames: floor(i * total / wanted), as transformers'
    video processors take them; all where there are fewer. Both are at least 1."""
    count = min(total, wanted)
    return [index * total // count for index in range(count)]


def frames_at(times: list[float], fps: float, most: int) -> list[int]:
    """Indices of the frames shown at 0, 1/fps, 2/fps ... (each once), thinned evenly to `most`.

    times: of all frames in seconds, ascending, the first 0.
    """
    shown = [
        index
        for index, (time, gone) in enumerate(pairwise([*times, times[-1] + _INSTANT]))
        if math.ceil(time * fps - _INSTANT) < gone * fps - _INSTANT / 2
    ]
    return [shown[index] for index in evenly(len(shown), most)] if shown else [0]
