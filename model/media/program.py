"""The decoding process: reads jobs from its input, answers each on its output, one at a time.

Started by the gateway with a bare environment. The end of its input ends it.
"""

import importlib
import io
import os
import sys
import warnings

from PIL import ImageFile

from model.media import confinement, wire
from model.media.errors import BadMedia
from model.media.reading import read
from model.records import InvalidParameter

READY = b"ready\n"

LATE = (
    *(f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff")),
    "PIL.WebPImagePlugin",
    "av.subtitles.stream",
)
"""Modules that Pillow and PyAV load when content first wants them: then it is too late here."""


def main(memory: int, max_bytes: int, seconds: float) -> None:
    """memory: bytes it may take beyond its code. max_bytes: of one item. seconds: of processor
    time for one item."""
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    for name in LATE:
        importlib.import_module(name)
    jobs, replies = _pipes()
    confinement.confine(memory)
    replies.write(READY)
    while True:
        lengths = jobs.read(wire.LENGTHS.size)
        if len(lengths) < wire.LENGTHS.size:
            return
        head_length, length = wire.LENGTHS.unpack(lengths)
        if head_length > wire.MAX_HEAD_BYTES or length > max_bytes:
            return
        confinement.allow_processor(seconds)
        for part in _answer(jobs.read(head_length), jobs.read(length)):
            _write(replies, part)


def _answer(head: bytes, data: bytes) -> list[bytes | memoryview]:
    try:
        asked = wire.read_asked(head)
        start, arrays = wire.answered(read(data, asked.job, asked.limits))
    except BadMedia as error:
        return [wire.failure(error.reason)]
    except MemoryError:
        return [wire.failure("memory")]
    except InvalidParameter:
        return [wire.failure("wrong_kind")]
    if sum(len(array) for array in arrays) > asked.limits.result_bytes:
        return [wire.failure("result")]
    return [start, *arrays]


def _pipes() -> tuple[io.BufferedReader, io.FileIO]:
    """What libraries print on the standard streams must not reach the gateway."""
    jobs = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
    return jobs, replies


def _write(replies: io.FileIO, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[replies.write(view) :]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
