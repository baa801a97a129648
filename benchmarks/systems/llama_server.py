"""llama.cpp's server, from the xllamacpp wheel or compiled for this machine.

Both are started alike: continuous batching, flash attention as the program chooses, a prompt
cache, a slot for every path. Sampling is the program's own chain (top-k 40 first), which costs it
less than the whole vocabulary would.
"""

from pathlib import Path

from benchmarks.client import Api
from benchmarks.systems import pollux
from benchmarks.systems.llama_programs import Programs
from benchmarks.systems.process import Server, free_port
from benchmarks.systems.served import Served

WHEEL, COMPILED = "llama.cpp wheel", "llama.cpp compiled"
INSTALL_WHEEL = "pip install 'pollux[bench]'"

# Slots and the tokens that each holds: 32 paths and a few requests more, or few long prompts.
_MANY, _LONG = (40, 512), (4, 33_024)
_LAUNCHER = Path(__file__).with_name("xllamacpp_server.py")


def _shape(long: bool) -> tuple[int, int]:
    slots, tokens = _LONG if long else _MANY
    return slots, slots * tokens


def from_wheel(python: str, model: Path, api: Api, threads: int) -> Served:
    """python: an interpreter that has xllamacpp."""

    def make(*, long: bool) -> Server:
        port = free_port()
        slots, context = _shape(long)
        numbers = [str(number) for number in (port, slots, context, threads)]
        command = [python, str(_LAUNCHER), str(model), *numbers]
        return Server(command, {}, f"http://127.0.0.1:{port}", "/health")

    return Served(WHEEL, "default", api, make, against=pollux.NAME, two_setups=True)


def from_programs(programs: Programs, model: Path, api: Api, threads: int) -> Served:
    def make(*, long: bool) -> Server:
        port = free_port()
        slots, context = _shape(long)
        command = [programs.path("llama-server"), "-m", str(model), "--port", str(port)]
        command += ["-np", str(slots), "-c", str(context), "-t", str(threads), "--no-webui"]
        return Server(command, programs.env, f"http://127.0.0.1:{port}", "/health")

    return Served(COMPILED, "default", api, make, against=pollux.NAME, two_setups=True)
