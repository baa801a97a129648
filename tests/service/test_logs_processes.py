"""`pollux serve` and `pollux worker` with --log-format json: whatever they write is one object."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import service.cli
from tests.broker_world import world
from tests.fake_engine import MODEL
from tests.service.log_support import written
from tests.valkey import ValkeyServer

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "fixtures" / "parity" / "llama"
PATIENCE_S = 240.0
PROGRAM = "from service.cli import main; main()"


@dataclass
class Process:
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def messages(self) -> list[str]:
        return [entry["message"] for entry in self.entries()]

    def said(self, words: str) -> bool:
        assert self.process.returncode is None, self.lines
        return any(words in line for line in self.lines)


@contextlib.asynccontextmanager
async def pollux(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    """A command until the end of the context; its lines on either stream."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *arguments),
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    running = Process(process)

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            running.lines.append(line.decode())

    reader = asyncio.create_task(read())
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await reader


async def heard(process: Process, words: str) -> None:
    """How long a model takes to compile on a busy machine is no part of the test."""
    end = time.monotonic() + PATIENCE_S
    while not process.said(words):
        assert time.monotonic() < end, process.lines
        await asyncio.sleep(0.02)


def well_formed(process: Process) -> None:
    for entry in process.entries():
        assert list(entry)[:4] == ["time", "level", "logger", "message"]


async def test_all_that_a_gateway_writes_is_json(valkey: ValkeyServer) -> None:
    flags = ("--redis", valkey.url, "--log-format", "json", "--log-prompts")
    async with (
        world(valkey.url) as w,
        pollux("serve", *flags, "--model", MODEL, "--port", "0") as gateway,
    ):
        w.worker()
        await heard(gateway, "ready after")
        [banner] = [line for line in gateway.messages() if "Pollux serves" in line]
        async with httpx.AsyncClient(base_url=banner.split()[-1]) as http:
            body = {"model": MODEL, "prompt": "abc", "max_tokens": 3}
            reply = await http.post("/v1/completions", json=body)
            assert reply.status_code == 200, reply.text
            await heard(gateway, "pollux.access")
    assert gateway.process.returncode == 0
    well_formed(gateway)
    [request] = [entry for entry in gateway.entries() if entry["logger"] == "pollux.access"]
    assert (request["prompt_tokens"], request["completion_tokens"]) == (3, 3)
    assert (request["prompt"], len(request["answer"])) == ("abc", 1)
    assert any("--log-prompts" in line for line in gateway.messages())


async def test_all_that_a_worker_writes_is_json(valkey: ValkeyServer, tmp_path: Path) -> None:
    flags = ("--redis", valkey.url, "--log-format", "json", "--log-level", "debug")
    small = ("--max-rows", "1", "--context", "64", "--kernels", "off", "--cache", str(tmp_path))
    async with pollux("worker", *flags, "--model", str(TINY), *small) as worker:
        await heard(worker, "compiling step")
        worker.process.kill()
    well_formed(worker)
    told = {entry["logger"] for entry in worker.entries()}
    assert "pollux.worker" in told


@pytest.mark.parametrize("named", ["flag", "variable"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("worker",), "a worker needs a broker"),
     (("serve", "--port", "70000"), "POLLUX_PORT"),
     (("serve", "--port", "0", "--model", "nope"), "nope")],
)  # fmt: skip
def test_why_a_command_ends_is_an_entry_too(arguments, words, named) -> None:
    flag = ("--log-format", "json") if named == "flag" else ()
    environment = {} if flag else {"POLLUX_LOG_FORMAT": "json"}
    with written(log_format="text"):
        result = CliRunner(env=environment).invoke(service.cli.app, (*arguments, *flag))
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    entry = json.loads(line)
    assert words in entry["message"]
    assert entry["level"] == "error"


def test_a_format_that_is_none_is_named() -> None:
    result = CliRunner().invoke(service.cli.app, ("serve", "--log-format", "xml"))
    assert result.exit_code == 2
    assert "--log-format" in result.stderr
