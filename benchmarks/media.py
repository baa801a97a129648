"""How fast media become arrays: in one process, and through the pool as the gateway sees it.

    python -m benchmarks.media [--seconds 3]

One core does one item at a time. Pictures are synthetic and textured, so that files are of usual
size; numbers say what a machine of this kind does, not what a model does with it.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from model.media.limits import MediaLimits
from model.media.reading import read
from model.media.records import Family, Job, Read
from service.media.pool import DecodingPool
from service.media.process import Terms
from tests.model.media.pictures import textured
from tests.model.media.samples import image_file, sound_file, video_file

LIMITS = MediaLimits()
TERMS = Terms(memory=1024**3, max_bytes=64 * 1024**2, seconds=60.0)
SECONDS_OF_SOUND = 30
Case = tuple[str, bytes, Job, float, str]
"""name, file, job, how much one item is, of what"""


def cases() -> list[Case]:
    photo = Image.fromarray(textured(1080, 1920))
    files: list[tuple[str, bytes]] = [
        ("JPEG 1920x1080", image_file("JPEG", photo, quality=85)),
        ("PNG 1920x1080", image_file("PNG", photo)),
        ("WebP 1920x1080", image_file("WEBP", photo, quality=85)),
        ("JPEG 8000x6000", image_file("JPEG", photo.resize((8000, 6000)), quality=85)),
    ]
    families: tuple[Family, ...] = ("plain", "gemma4_unified", "siglip")
    found = [
        (f"{name}, {family}", data, job("image", family), 1.0, "images/s")
        for name, data in files
        for family in families
    ]
    for container, codec in (("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("ogg", "libopus")):
        data = sound_file(container, codec, seconds=SECONDS_OF_SOUND, layout="stereo")
        found.append(
            (f"{container} {codec} 48 kHz stereo", data, job("audio", "gemma4_unified"),
             float(SECONDS_OF_SOUND), "s of sound/s")
        )  # fmt: skip
    video = video_file(frames=600, rate=30, size=(720, 1280), key_every=60)
    found.append(("MP4 720p 20 s, 32 frames", video, job("video", "gemma4_unified"), 1, "videos/s"))
    return found


def job(what: Read, family: Family) -> Job:
    return Job(read=what, family=family)


def rate(work: Callable[[], object], seconds: float) -> tuple[float, float]:
    """(calls per second, median seconds of the processor for a call, whatever else runs)"""
    work()
    times, spent = [], []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start, busy = time.perf_counter(), time.process_time()
        work()
        times.append(time.perf_counter() - start)
        spent.append(time.process_time() - busy)
    return len(times) / sum(times), float(np.median(spent))


async def pooled(data: bytes, asked: Job, seconds: float, workers: int) -> float:
    """Items per second with two requests per process in flight."""
    pool = DecodingPool(TERMS, LIMITS, workers)
    await asyncio.gather(*(pool.decode(data, asked) for _ in range(workers)))
    count = 0
    until = time.perf_counter() + seconds
    start = time.perf_counter()

    async def ask() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await pool.decode(data, asked)
            count += 1

    await asyncio.gather(*(ask() for _ in range(2 * workers)))
    elapsed = time.perf_counter() - start
    await pool.close()
    return count / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description="how fast media become arrays")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row and column")
    asked = parser.parse_args()
    workers = os.cpu_count() or 1
    print(f"| media | processor time | one process | pool of {workers} |")
    print("|---|---|---|---|")
    for name, data, todo, amount, unit in cases():
        alone, median = rate(lambda data=data, todo=todo: read(data, todo, LIMITS), asked.seconds)
        together = asyncio.run(pooled(data, todo, asked.seconds, workers))
        print(
            f"| {name} ({len(data) / 1024:.0f} KiB) | {median * 1000:.0f} ms | "
            f"{alone * amount:.3g} {unit} | {together * amount:.3g} {unit} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
