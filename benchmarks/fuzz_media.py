"""Damages small real files of every format and feeds them to the decoding processes:

    python -m benchmarks.fuzz_media --seconds 120 [--seed 1] [--keep folder]

Every outcome must be arrays or one of our own refusals. Anything else, a process that outlives the
end, or a gateway that grows, ends it with status 1; `--keep` saves the file at fault. Processes
that end, as they may, are counted.
"""

import argparse
import asyncio
import logging
import os
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from model.media.limits import MediaLimits
from model.media.records import Job
from service.errors import ApiError
from service.media.pool import DecodingPool
from service.media.process import Terms
from tests.model.media.samples import every_format

TERMS = Terms(memory=256 * 1024**2, max_bytes=4 * 1024**2, seconds=10.0)
LIMITS = MediaLimits(pixels=1_000_000, seconds=20.0, frames=4)
FAMILIES = ("plain", "gemma4_unified")
MAX_GROWTH_KIB = 64 * 1024


def damaged(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Some bytes altered, a stretch cut, doubled or swapped for one of another file, an extreme
    number written somewhere, or the end lost."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed))
        length = min(len(changed) - at, rng.choice((1, 2, 4, 8, 64, 512)))
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = rng.randbytes(length)
            case 2 if length < len(changed):
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 50))
            case 4:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                changed[at : at + length] = other[start : start + length]
            case 5:
                extreme = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF))
                order = rng.choice(("big", "little"))
                changed[at : at + 4] = extreme.to_bytes(4, order)  # type: ignore[arg-type]
            case 6 if at:
                del changed[at:]
    return bytes(changed[: TERMS.max_bytes])


class Ended(logging.Handler):
    """Counts what the pool says about processes that were killed or crashed."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def fuzz(seconds: float, seed: int, keep: Path | None) -> int:
    rng = random.Random(seed)
    files = every_format()
    contents = [data for data, _, _ in files.values()]
    ended = Ended()
    logging.getLogger("pollux").addHandler(ended)
    pool = DecodingPool(TERMS, LIMITS, workers=os.cpu_count() or 1)
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    memory = 0
    until = time.monotonic() + seconds

    async def one(name: str, number: int) -> None:
        data, read, mime = files[name]
        bad = damaged(data, rng, contents)
        family = rng.choice(FAMILIES)
        try:
            await pool.decode(bad, Job(read=read, mime=mime, family=family))  # type: ignore[arg-type]
            outcomes["read"] += 1
        except ApiError as error:
            outcomes[error.code or error.kind] += 1
            if error.status not in (400, 503) or "0x" in error.message:
                failures.append(f"{name}: {error.message}")
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
        if failures and keep is not None:
            (keep / f"{number}-{name.replace(' ', '-')}").write_bytes(bad)

    number = 0
    while time.monotonic() < until and not failures:
        batch = [rng.choice(list(files)) for _ in range(16)]
        await asyncio.gather(*(one(name, number + i) for i, name in enumerate(batch)))
        number += len(batch)
        if number == 1600:  # what is loaded once is loaded by now
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pids = pool.pids
    await pool.close()
    left = running(pids)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory if memory else 0
    print(f"{number} files in {seconds:g} s, seed {seed}; peak memory grew by {grown} KiB")
    print(f"{ended.count} processes ended before their time")
    for outcome, count in outcomes.most_common():
        print(f"{count:8d}  {outcome}")
    failures += [f"process {pid} outlived the pool" for pid in left]
    if grown > MAX_GROWTH_KIB:
        failures.append(f"the gateway grew by {grown} KiB")
    print(*failures, sep="\n")
    return 1 if failures else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="damaged media against the decoding processes")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    if asked.keep is not None:
        asked.keep.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(fuzz(asked.seconds, asked.seed, asked.keep)))


if __name__ == "__main__":
    main()
