"""A formula's canonical form, from a process that may hang, crash or eat memory without harm."""

import contextlib
import importlib.util
import json
import logging
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from functools import cache
from pathlib import Path

PROGRAM = Path(__file__).with_name("math_worker.py")
CPU_SECONDS = 2.0
"""Of processor time for one formula: how busy the machine is should not change a vote."""
WALL_SECONDS = 20.0
START_SECONDS = 60.0
MEMORY_BYTES = 1 << 30
MAX_REPLY_BYTES = 1 << 16
REMEMBERED = 4096

_log = logging.getLogger(__name__)


def available() -> bool:
    """Whether the optional package behind `math` is installed."""
    return importlib.util.find_spec("math_verify") is not None


class _Unanswered(Exception):
    """The process ended, or did not answer in time."""


class MathProcess:
    """Starts on first use, one formula at a time, started anew after each that broke it.

    Thread-safe. Remembers what it answered, "no answer" too, so that one poll cannot pay for the
    same formula twice.
    """

    def __init__(self, cpu_seconds: float = CPU_SECONDS, memory: int = MEMORY_BYTES) -> None:
        self._arguments = [str(cpu_seconds), str(memory)]
        self._lock = threading.Lock()
        self._known: OrderedDict[str, str | None] = OrderedDict()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes]], MathProcess] | None = None

    def canonical(self, latex: str) -> str | None:
        """None when it is no formula, or none that can be simplified within the limits."""
        with self._lock:
            if latex in self._known:
                self._known.move_to_end(latex)
                return self._known[latex]
            process = self._started()
            if process is None:
                return None
            try:
                answer = self._ask(process, latex)
            except (_Unanswered, OSError):
                self._stop()
                answer = None
            self._known[latex] = answer
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return answer

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen[bytes] | None:
        if self._process is not None:
            return self._process
        try:
            process = subprocess.Popen(
                # Isolated: neither the program's folder nor the environment adds modules.
                [sys.executable, "-I", str(PROGRAM), *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the server, which then ends this
            )
            self._process = process
            self._end = weakref.finalize(self, _end, process)
            _read_line(process, START_SECONDS)
        except (_Unanswered, OSError):
            self._stop()
            _log.warning("the process for mathematics did not start; answers are compared as text")
        return self._process

    def _ask(self, process: subprocess.Popen[bytes], latex: str) -> str | None:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"latex": latex}).encode() + b"\n")
        answer = json.loads(_read_line(process, WALL_SECONDS))["canonical"]
        return answer if isinstance(answer, str) and answer else None

    def _stop(self) -> None:
        self._process = None
        if self._end is not None:
            self._end()


def _read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise _Unanswered
            piece = os.read(process.stdout.fileno(), 4096)
            received += piece
            if not piece or len(received) > MAX_REPLY_BYTES:
                raise _Unanswered
    return received


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


@cache
def shared() -> MathProcess:
    """The one process of this interpreter."""
    return MathProcess()
