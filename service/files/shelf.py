"""The folder that files lie in. Names in it are made here; nothing that a client says is a path."""

import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

import msgspec
from filelock import FileLock, Timeout

from service.files.records import FileRecord

log = logging.getLogger("pollux")

MAX_RECORD_BYTES = 16 * 1024

_OURS = re.compile(r"([0-9a-f]{32})\.(part|bin|json|new)")


class BadFilesFolder(Exception):
    """One line about a folder that cannot be used."""


class Writer:
    """Bytes of one file on their way to disk, hashed as they pass. Blocking; used by one at a
    time. size: what is on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 (open while bytes come in)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Raises OSError; what was written before it stays counted."""
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            self._hash.update(view[:written])
            self.size += written
            view = view[written:]

    def finish(self) -> str:
        """The content's SHA-256, in hexadecimal; it is on disk for good. Raises OSError."""
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class Shelf:
    """A folder for this process alone.

    `<key>.part` while bytes come in, then `<key>.bin`; the file exists once `<key>.json` does.
    All methods block. folder: None makes a private temporary one when the first file comes, and
    removes it at the end.

    Raises BadFilesFolder when the folder cannot be made or another process uses it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._kept = folder is not None
        self._folder = folder
        self._making = threading.Lock()
        self._lock: FileLock | None = None
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            raise BadFilesFolder(f"{folder} is used by another process") from None
        except OSError as error:
            raise BadFilesFolder(f"{folder}: {error.strerror or error}") from None

    def load(self) -> dict[str, FileRecord]:
        """Files of earlier runs, by key. What is incomplete or damaged is removed; what is not
        ours stays. Raises BadFilesFolder."""
        if self._folder is None:
            return {}
        try:
            matches = [_OURS.fullmatch(entry.name) for entry in os.scandir(self._folder)]
        except OSError as error:
            raise BadFilesFolder(f"{self._folder}: {error.strerror or error}") from None
        found: dict[str, FileRecord] = {}
        for key in {match[1] for match in matches if match}:
            record = self._read(key)
            if record is None:
                self.remove(key)
            else:
                found[key] = record
                self._path(key, "part").unlink(missing_ok=True)
                self._path(key, "new").unlink(missing_ok=True)
        return found

    def begin(self) -> tuple[str, Writer]:
        """Raises OSError."""
        with self._making:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="pollux-files-"))
        key = secrets.token_hex(16)
        return key, Writer(self._path(key, "part"))

    def commit(self, key: str, record: FileRecord) -> None:
        """After the writer has finished. Raises OSError; nothing is left then."""
        try:
            self._path(key, "part").rename(self._path(key, "bin"))
            new = self._path(key, "new")
            new.write_bytes(msgspec.json.encode(record))
            new.rename(self._path(key, "json"))
        except OSError:
            self.remove(key)
            raise

    def open(self, key: str) -> BinaryIO:
        """The content. It stays readable when the file is removed meanwhile. Raises OSError."""
        return open(self._path(key, "bin"), "rb")

    def remove(self, key: str) -> None:
        """The record first: content without one is removed at the next start."""
        for kind in ("json", "new", "part", "bin"):
            try:
                self._path(key, kind).unlink(missing_ok=True)
            except OSError as error:
                log.error("a file cannot be removed: %s", error)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()
        if not self._kept and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _path(self, key: str, kind: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}.{kind}"

    def _read(self, key: str) -> FileRecord | None:
        path = self._path(key, "json")
        try:
            if path.stat().st_size > MAX_RECORD_BYTES:
                raise ValueError("the record is too large")
            record = msgspec.json.decode(path.read_bytes(), type=FileRecord)
            if self._path(key, "bin").stat().st_size != record.size:
                raise ValueError("the content has another size")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.DecodeError) as error:
            log.warning("a stored file is damaged and is removed: %s: %s", path.name, error)
            return None
        return record
