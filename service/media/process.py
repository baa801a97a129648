"""One decoding process, as its gateway sees it: it may hang, crash, lie or eat memory."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

import model
from model.media import wire
from model.media.errors import Reason
from model.media.limits import MediaLimits
from model.media.records import Decoded, Job

START_SECONDS = 60.0
"""A busy machine takes long to load the decoders; it does not count as decoding."""
EXIT_SECONDS = 2.0
ITEMS_PER_PROCESS = 1_000
"""Then a fresh one is used: what a decoder leaks ends with it."""

_ROOT = str(Path(model.__file__).parents[1])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[4]);"
    "from model.media.program import main;"
    "main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))"
)
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "SYSTEMROOT")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


Failure = Literal["slow", "crash", "memory", "start"]


class DecoderFailed(Exception):
    """The process is gone. slow: it did not answer in time. crash: it ended, or answered what no
    decoder of ours does. start: it never came to work, which is no fault of the content."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure: Failure = failure


@dataclass(frozen=True, slots=True)
class Terms:
    """memory: bytes beyond its code. max_bytes: of one item. seconds: for one item, of the clock
    and of the processor alike."""

    memory: int
    max_bytes: int
    seconds: float


class Decoder:
    """Started by the first item. Used by one thread at a time; `kill` may come from any."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()
        self._items = 0
        self._late = False
        self.is_dead = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def is_worn(self) -> bool:
        return self._items >= ITEMS_PER_PROCESS

    def decode(self, data: bytes, job: Job, limits: MediaLimits) -> Decoded | Reason:
        """Raises DecoderFailed, after which this one is dead."""
        try:
            process = self._process or self._started()
        except (OSError, EOFError):
            self.kill()
            raise DecoderFailed("start") from None
        try:
            self._items += 1
            with self._deadline(self._terms.seconds):
                _send(process, wire.asked(job, limits, len(data)), data)
                return _receive(process, limits)
        except (OSError, EOFError, wire.BadReply, MemoryError) as error:
            failure = self._why(process, error)
            self.kill()
            raise DecoderFailed(failure) from None

    def kill(self) -> None:
        """At once, and for good. Idempotent."""
        with self._guard:
            self.is_dead = True
            process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """After the thread that used it is done."""
        self.kill()
        if self._process is None:
            return
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _started(self) -> subprocess.Popen[bytes]:
        terms = self._terms
        arguments = [str(terms.memory), str(terms.max_bytes), str(terms.seconds), _ROOT]
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        process = subprocess.Popen(
            # Isolated: no folder and no variable adds modules, and no secret is in reach.
            [sys.executable, "-I", "-c", _PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=kept | _ONE_THREAD,
            start_new_session=True,  # Ctrl-C is for the server, which then ends this
        )
        with self._guard:
            self._process = process
            dead = self.is_dead
        if dead:
            process.kill()
        with self._deadline(START_SECONDS):
            _read(process, 6)
        return process

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self._late = True
        self.kill()

    def _why(self, process: subprocess.Popen[bytes], error: Exception) -> Failure:
        killed_here = self.is_dead
        if self._late:
            return "slow"
        if isinstance(error, MemoryError):
            return "memory"
        try:
            code = process.wait(timeout=EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its pipe, or talks nonsense, and lives on
            return "crash"
        ended_by = signal.Signals(-code).name if code < 0 else ""
        if ended_by == "SIGXCPU":
            return "slow"
        # The system's own killer works on memory.
        return "memory" if ended_by == "SIGKILL" and not killed_here else "crash"


def _send(process: subprocess.Popen[bytes], head: bytes, data: bytes) -> None:
    assert process.stdin is not None
    for part in (head, data):
        view = memoryview(part)
        while view:
            view = view[os.write(process.stdin.fileno(), view[: 1 << 20]) :]


def _receive(process: subprocess.Popen[bytes], limits: MediaLimits) -> Decoded | Reason:
    head_length, length = wire.LENGTHS.unpack(_read(process, wire.LENGTHS.size))
    if head_length > wire.MAX_HEAD_BYTES or length > limits.result_bytes:
        raise wire.BadReply
    head = bytes(_read(process, head_length))
    return wire.read_answered(head, _read(process, length))


def _read(process: subprocess.Popen[bytes], length: int) -> memoryview:
    """Raises EOFError when the process is gone."""
    assert process.stdout is not None
    whole = memoryview(np.empty(length, dtype=np.uint8).data).cast("B")
    at = 0
    while at < length:
        count = process.stdout.readinto(whole[at:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        at += count
    return whole
