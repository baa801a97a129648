"""A recording on disk, which may be interrupted at any moment and go on later.

folder/setup.json    what is recorded: the setup, k, the seed
folder/record.jsonl  one line per finished question, in the order of finishing
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import msgspec
from filelock import FileLock, Timeout

from routing.calibration.setup import Setup
from routing.records import BadRecord, RecordedQuestion, read_records

SETUP = "setup.json"
RECORD = "record.jsonl"
MAX_SETUP_BYTES = 1 << 20


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What all questions of a recording share. arms: what was run of each question."""

    setup: Setup
    k: int
    seed: int
    cot: bool = False
    greedy: bool = True


class OtherRecording(ValueError):
    """The folder holds a recording of something else, or is in use; the message says which."""


class Journal:
    """Appends finished questions, each flushed to the disk. A context."""

    def __init__(self, folder: Path, recording: Recording) -> None:
        """Makes the folder, or continues what is in it.

        Raises OtherRecording, BadRecord for a damaged one, OSError.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OtherRecording(f"another process records into {folder}") from None
        try:
            self._load(folder, recording)
        except BaseException:
            self._lock.release()
            raise

    def _load(self, folder: Path, recording: Recording) -> None:
        described = folder / SETUP
        if described.exists():
            _require_same(read_recording(folder), recording, folder)
        else:
            described.write_bytes(
                msgspec.json.format(msgspec.json.encode(recording), indent=2) + b"\n"
            )
        self._path = folder / RECORD
        _drop_half_line(self._path)
        self.done: dict[str, RecordedQuestion] = {
            str(question.id): question for question in _read(self._path)
        }
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = self._path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._lock.release()

    def add(self, question: RecordedQuestion) -> None:
        assert self._file is not None
        self._file.write(msgspec.json.encode(question) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done[str(question.id)] = question


def read_recording(folder: Path) -> Recording:
    """Raises OtherRecording for a file that is none, OSError."""
    try:
        with (folder / SETUP).open("rb") as file:
            return msgspec.json.decode(file.read(MAX_SETUP_BYTES), type=Recording)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise OtherRecording(f"{folder / SETUP} describes no recording: {error}") from None


def _require_same(there: Recording, here: Recording, folder: Path) -> None:
    differences = here.setup.differences(there.setup)
    for field in ("k", "seed", "cot", "greedy"):
        mine, theirs = getattr(here, field), getattr(there, field)
        if mine != theirs:
            differences.append(f"{field}: {mine} here, {theirs} there")
    if differences:
        raise OtherRecording(
            f"{folder} holds another recording ({'; '.join(differences)}); choose another folder"
        )


def _read(path: Path) -> Iterator[RecordedQuestion]:
    if not path.exists():
        return
    with path.open("rb") as lines:
        try:
            yield from read_records(lines)
        except BadRecord as error:
            raise BadRecord(f"{path}, {error}") from None


def _drop_half_line(path: Path) -> None:
    """What an interrupted write has left at the end."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
