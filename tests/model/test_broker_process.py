"""The worker as a process: what signals do to it and to what it runs."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from service.workers.redis import RedisBackend
from tests.broker_world import QUICK, Answer, group, until
from tests.fake_engine import MODEL, tokens_of
from tests.valkey import ValkeyServer


@contextlib.contextmanager
def worker_process(url: str, *, pace_s: float, drain_s: float) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "tests.broker_process", url, str(pace_s), str(drain_s)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


async def ended(process: subprocess.Popen) -> tuple[int, str]:
    _, errors = await asyncio.to_thread(process.communicate)
    return process.returncode, errors


@pytest.fixture
async def gateway(valkey: ValkeyServer) -> AsyncIterator[RedisBackend]:
    backend = RedisBackend(valkey.url, MODEL, timing=QUICK)
    await backend.start()
    yield backend
    await backend.stop()


async def running_group(gateway: RedisBackend, tokens: int) -> tuple[asyncio.Task, Answer]:
    answer = Answer()

    async def read() -> None:
        async with gateway.worker.open(group("g", tokens=tokens)) as stream:
            async for event in stream:
                answer.add(event)

    await until(lambda: gateway.status().state == "ready")
    task = asyncio.create_task(read())
    await until(lambda: answer.tokens)
    return task, answer


async def test_sigterm_lets_a_running_group_finish(
    valkey: ValkeyServer, gateway: RedisBackend
) -> None:
    with worker_process(valkey.url, pace_s=0.02, drain_s=60) as process:
        task, answer = await running_group(gateway, tokens=50)
        process.send_signal(signal.SIGTERM)
        await task
        assert answer.tokens == {0: tokens_of(100, 50)}
        status, errors = await ended(process)
        assert status == 0
        assert "Traceback" not in errors


async def test_a_second_sigint_ends_it_at_once(valkey: ValkeyServer, gateway: RedisBackend) -> None:
    with worker_process(valkey.url, pace_s=0.005, drain_s=10_000) as process:
        task, answer = await running_group(gateway, tokens=1_000_000)
        process.send_signal(signal.SIGINT)
        await until(lambda: gateway.status().state == "draining")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        status, errors = await ended(process)
        assert status == 0
        assert "Traceback" not in errors
        await task
        assert answer.failed.code == "unavailable"


async def test_a_killed_worker_fails_its_group(valkey: ValkeyServer, gateway: RedisBackend) -> None:
    with worker_process(valkey.url, pace_s=0.005, drain_s=60) as process:
        task, answer = await running_group(gateway, tokens=1_000_000)
        process.kill()
        await task
        assert answer.failed.code == "unavailable"


async def test_sigterm_without_a_broker_ends_it_too(tmp_path: object) -> None:
    with worker_process(f"unix://{tmp_path}/none", pace_s=0.005, drain_s=60) as process:
        said = ""
        while "is away, retrying" not in said:
            said = await asyncio.to_thread(process.stderr.readline)
            assert said, "it ended"
        process.send_signal(signal.SIGTERM)
        status, errors = await ended(process)
        assert status == 0
        assert "Traceback" not in errors
