"""Hugging Face transformers, in a process of its own that may have another interpreter."""

import json
import subprocess
import time
from pathlib import Path

from benchmarks import measurement as m
from benchmarks.measurement import Measurement
from benchmarks.systems import engine
from benchmarks.systems.base import SystemFailed
from benchmarks.workloads import Generate, Prefill, Workload

NAME = "transformers"
INSTALL = "pip install 'pollux[parity]'"
_PROGRAM = Path(__file__).with_name("transformers_program.py")


class Transformers:
    """`generate` with its own KV cache, sampling on."""

    name = NAME
    against: str | None = engine.NAME

    def __init__(self, python: str, model: Path, threads: int) -> None:
        self._command = [python, str(_PROGRAM), str(model), str(threads)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reply()
        return time.perf_counter() - began

    def supports(self, workload: Workload) -> bool:
        if isinstance(workload, Prefill):
            return workload.prompt <= 4096
        return isinstance(workload, Generate) and not workload.prompt_seen

    def prepare(self, workload: Workload) -> None:
        pass

    def run(self, workload: Workload) -> Measurement:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        new = workload.new if isinstance(workload, Generate) else 1
        requests = workload.requests if isinstance(workload, Generate) else 1
        paths = workload.paths if isinstance(workload, Generate) else 1
        asked = {"prompt": workload.prompt, "new": new, "requests": requests, "paths": paths}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        seconds = self._reply()
        if isinstance(workload, Generate):
            tokens = workload.rows * workload.new
            return Measurement({m.TOTAL_RATE: tokens / seconds, m.SECONDS: seconds})
        return Measurement({m.PREFILL_RATE: workload.prompt / seconds, m.SECONDS: seconds})

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _reply(self) -> float:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemFailed(f"{self.name} ended")
        return float(json.loads(line)["seconds"])
