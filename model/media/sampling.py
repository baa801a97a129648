"""Which frames of a video are taken. Pure."""

import math


def evenly(total: int, wanted: int) -> list[int]:
    """Indices of at most `wanted` of `total` frames: floor(i * total / wanted), as transformers'
    video processors take them; all where there are fewer. Both are at least 1."""
    count = min(total, wanted)
    return [index * total // count for index in range(count)]


def frames_at(times: list[float], fps: float, most: int) -> list[int]:
    """Indices of the frames shown at 0, 1/fps, 2/fps ... (each once), thinned evenly to `most`.

    times: of all frames in seconds, ascending, the first 0.
    """
    ticks = min(math.floor(times[-1] * fps) + 1, len(times) * 2)
    step = max(1 / fps, times[-1] / max(ticks - 1, 1)) if ticks > 1 else 1 / fps
    shown: list[int] = []
    at = 0
    for tick in range(ticks):
        while at + 1 < len(times) and times[at + 1] <= tick * step + 1e-9:
            at += 1
        if not shown or shown[-1] != at:
            shown.append(at)
    return [shown[index] for index in evenly(len(shown), most)]
