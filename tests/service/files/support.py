"""Stores that a test can watch."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from service.files.quota import Bounds
from service.files.shelf import Shelf
from service.files.store import FileStore
from service.files.uploads import Wanted

BASE = "http://here"
HOUR = 3600.0


class Now:
    """A clock of seconds since 1970 that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def bounds(**changes: int) -> Bounds:
    usual = {"file_bytes": 1000, "bytes": 5000, "files": 20, "key_bytes": 3000, "key_files": 10}
    return Bounds(**{**usual, **changes})


def store_in(folder: Path | None, clock: Now | None = None, **changes: int) -> FileStore:
    return FileStore(Shelf(folder), bounds(**changes), 2 * HOUR, clock or Now())


@asynccontextmanager
async def stores():
    opened: list[FileStore] = []

    def make(folder: Path | None, clock: Now | None = None, **changes: int) -> FileStore:
        opened.append(store_in(folder, clock, **changes))
        return opened[-1]

    yield make
    for store in opened:
        await store.stop()


def wanted(**changes: object) -> Wanted:
    return Wanted(**{"base": BASE, "mime": "text/plain", **changes})


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


async def put(store: FileStore, *pieces: bytes, owner: str | None = None, **changes: object):
    """A whole file; what fails is abandoned, as endpoints do."""
    upload = await store.begin(owner, wanted(**changes))
    try:
        await store.receive(upload, chunks(*pieces))
        return await store.finish(upload)
    except BaseException:
        await store.abandon(upload)
        raise


def names_in(folder: Path, kinds: Iterable[str] = ("part", "bin", "json", "new")) -> list[str]:
    return sorted(path.name for kind in kinds for path in folder.glob(f"*.{kind}"))
