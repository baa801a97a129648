"""Programs of others in processes of their own."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from benchmarks.systems.base import SystemFailed

_STOP_S = 30.0
_ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A program that serves HTTP on loopback. Its output is kept for the failure message."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], url: str, ready_path: str
    ) -> None:
        self.url = url
        self._command = list(command)
        self._env = {**os.environ, **env}
        self._ready_url = url + ready_path
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path()

    def start(self, limit: float) -> float:
        """Seconds until the ready address says 200. Raises SystemFailed."""
        handle, name = tempfile.mkstemp(suffix=".log")
        self._log = Path(name)
        began = time.perf_counter()
        with os.fdopen(handle, "wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
            )
        while time.perf_counter() - began < limit:
            if self._process.poll() is not None:
                raise SystemFailed(f"{self._command[0]} ended: {self.last_words()}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self._ready_url, timeout=5, trust_env=False).status_code == 200:
                    return time.perf_counter() - began
            time.sleep(0.05)
        self.stop()
        raise SystemFailed(f"{self._command[0]} was not ready after {limit:.0f} s")

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._log.unlink(missing_ok=True)

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        return " | ".join(line.strip() for line in lines[-6:] if line.strip()) or "no output"


def run_program(command: Sequence[str], env: Mapping[str, str], limit: float) -> str:
    """What a program prints. Raises SystemFailed."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **env},
            timeout=limit,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemFailed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise SystemFailed(f"{command[0]} failed: {' | '.join(words)}")
    return done.stdout.decode(errors="replace")
