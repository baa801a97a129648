"""The servers that are measured: the gateway, the floors, and public ones that can do the same.

Peers answer from a text of their own, which has the tokens of one stream, tag 0.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gateway import asks
from benchmarks.gateway.costs import Process
from benchmarks.gateway.loads import Target
from benchmarks.gateway.scripted import MODEL
from benchmarks.gateway.tokens import STEP_CHARS, text_of
from benchmarks.systems.base import Absent
from benchmarks.systems.process import Server, free_port

_ROOT = Path(__file__).parents[2]
_READY_S = 120.0
PEER_TOKENS = 200
LITELLM_TOKENS = 40
"""It takes some hundred microseconds for every three characters."""
PACE = 0.02
"""Seconds between the tokens of a paced stream."""

Command = Callable[[int], list[str]]


@dataclass(frozen=True)
class System:
    """command: to listen on a port. paced: the same at PACE, where it can be told to.
    tagged, tokens, own_text, closes, more: see Target. most: streams that it runs at once."""

    name: str
    command: Command
    ready: str
    model: str = MODEL
    paced: Command | None = None
    env: Mapping[str, str] | None = None
    tagged: bool = True
    tokens: int | None = None
    own_text: bool = False
    closes: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True
    sockets: str | None = None
    most: int = 1000

    @contextmanager
    def running(self, command: Command | None = None) -> Iterator[Target]:
        """Raises SystemFailed."""
        port = free_port()
        line = (command or self.command)(port)
        server = Server(line, self.env or {}, f"http://127.0.0.1:{port}", self.ready)
        try:
            server.start(_READY_S)
            process = Process(server.pids()[0])
            yield Target(
                self.name,
                port,
                process,
                self.model,
                tagged=self.tagged,
                tokens=self.tokens,
                own_text=self.own_text,
                closes=self.closes,
                more=self.more,
            )
        finally:
            server.stop()


def gateway(name: str = "Pollux", *flags: str) -> System:
    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.gateway.program", str(port), *flags]

    return System(
        name,
        command,
        "/readyz",
        paced=lambda port: [*command(port), "--pace", str(PACE)],
        sockets=asks.SOCKET.path,
    )


def floors() -> list[System]:
    def command(kind: str) -> Command:
        return lambda port: [sys.executable, "-m", "benchmarks.gateway.floors", str(port), kind]

    return [
        System("bare uvicorn", command("uvicorn"), "/", whole=False),
        System("bare asyncio", command("asyncio"), "/", whole=False),
    ]


def peers(
    folder: Path, aimock: str | None, litellm: str | None, llama: Sequence[str]
) -> tuple[list[System], list[Absent]]:
    """Those whose program was found. folder: for their files. llama: an interpreter that has
    xllamacpp, if there is one."""
    found: list[System] = []
    absent: list[Absent] = []
    aimock, litellm = aimock or shutil.which("llmock"), litellm or shutil.which("litellm")
    if aimock:
        found.append(_aimock(folder, aimock))
    else:
        absent.append(Absent("aimock", "npm install @copilotkit/aimock, and --aimock PATH"))
    if litellm:
        found.append(_litellm(folder, litellm))
    else:
        absent.append(
            Absent("LiteLLM", "pip install 'litellm[proxy]' in a venv, and --litellm PATH")
        )
    if llama:
        found.append(_llama(llama[0]))
    else:
        absent.append(Absent("llama.cpp", "pip install 'pollux[bench]', or --llama-python PATH"))
    return found, absent


def _aimock(folder: Path, program: str) -> System:
    """A mock of OpenAI and Gemini in Node; streams a fixture piece by piece."""
    fixture = folder / "aimock.json"
    answer = {"content": text_of(0, 0, PEER_TOKENS)}
    fixture.write_text(json.dumps({"fixtures": [{"match": {}, "response": answer}]}))

    def command(port: int) -> list[str]:
        files = [program, "-p", str(port), "-f", str(fixture)]
        return [*files, "-c", str(STEP_CHARS), "--log-level", "silent", "--journal-max", "10"]

    return System(
        "aimock",
        command,
        "/health",
        model="gpt-4o",
        paced=lambda port: [*command(port), "-l", str(round(1000 * PACE))],
        tagged=False,
        tokens=PEER_TOKENS,
        sockets="/v1/realtime?model=gpt-4o-realtime-preview",
    )


def _litellm(folder: Path, program: str) -> System:
    """LiteLLM's proxy with a mocked answer; it streams three characters at a time."""
    config = folder / "litellm.json"
    mock = {"model": "openai/mock", "api_key": "-", "mock_response": text_of(0, 0, LITELLM_TOKENS)}
    listed = {"model_list": [{"model_name": "mock", "litellm_params": mock}]}
    config.write_text(json.dumps(listed))  # YAML is a superset

    def command(port: int) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        return [program, "--config", str(config), *where]

    quiet = {"LITELLM_LOG": "ERROR", "NO_DOCS": "True", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    quiet["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    return System(
        "LiteLLM",
        command,
        "/health/liveliness",
        model="mock",
        env=quiet,
        tagged=False,
        tokens=LITELLM_TOKENS,
    )


def _llama(python: str) -> System:
    """llama.cpp's server over a model of a few thousand weights, whose steps are in its cost."""
    launcher = _ROOT / "benchmarks" / "systems" / "xllamacpp_server.py"
    model = _ROOT / "tests" / "fixtures" / "parity" / "llama.gguf"
    slots = 64

    def command(port: int) -> list[str]:
        numbers = [port, slots, slots * 512, 1]
        return [python, str(launcher), str(model), *map(str, numbers)]

    return System(
        "llama.cpp",
        command,
        "/health",
        model="default",
        own_text=True,
        closes=True,
        more={"ignore_eos": True},
        most=slots,
    )
