"""`pollux` commands as processes of their own, as a user starts them."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import httpx

START_S = 600.0
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Pollux:
    """One running command of this tree. Its output is kept for the failure message."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self._log = log.open("w+")
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "pollux"), *arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": str(ROOT),  # not of another tree that happens to be installed
                **environment,
            },
        )

    def __enter__(self) -> "Pollux":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._log.close()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def output(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text()

    def wait_ready(self, url: str, certificate: Path | None = None) -> set[str]:
        """Returns once /readyz says yes; the reasons that it gave until then.

        certificate: the server's own, which the machine does not know.
        """
        reasons: set[str] = set()
        for reply in self._readiness(url, certificate):
            if reply.status_code == 200:
                break
            assert reply.status_code == 503
            reasons.add(reply.json()["detail"])
        return reasons

    def wait_listening(self, url: str) -> None:
        """Returns once it answers at all."""
        next(self._readiness(url))

    def _readiness(self, url: str, certificate: Path | None = None) -> Iterator[httpx.Response]:
        """What /readyz answers, again and again; an assertion says when that takes too long."""
        context = ssl.create_default_context(cafile=certificate)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, f"it ended:\n{self.output()}"
            with contextlib.suppress(httpx.TransportError):
                yield httpx.get(f"{url}/readyz", timeout=5, verify=context)
            time.sleep(0.2)
        raise AssertionError(f"not ready after {START_S} s:\n{self.output()}")
