"""`pollux serve --redis` as a process, with a worker on the other side of a real broker."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from tests.broker_world import World, until, world
from tests.fake_engine import MODEL, tokens_of
from tests.valkey import ValkeyServer

PROGRAM = "from service.cli import main; main()"


@dataclass
class Serve:
    """A gateway process; `imported` is complete once it has ended."""

    process: asyncio.subprocess.Process
    url: str
    imported: list[str]
    listening_after_s: float


@contextlib.asynccontextmanager
async def serve(redis: str) -> AsyncIterator[Serve]:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-c", PROGRAM),
        *("serve", "--redis", redis, "--model", MODEL, "--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    imported: list[str] = []
    said: list[str] = []

    async def read(stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            line = raw.decode()
            if line.startswith("import time:"):
                imported.append(line.rpartition("|")[2].strip())
            else:
                said.append(line)

    readers = [asyncio.create_task(read(s)) for s in (process.stdout, process.stderr)]
    try:
        await until(lambda: any("http://" in line for line in said))
        line = next(line for line in said if "http://" in line)
        url = "http://" + line.rpartition("http://")[2].strip()
        yield Serve(process, url, imported, time.monotonic() - began)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await asyncio.gather(*readers)


async def completion(client: httpx.AsyncClient, **more: object) -> dict:
    asked = {"model": MODEL, "prompt": "abc", "max_tokens": 8, "seed": 7, **more}
    reply = await client.post("/v1/completions", json=asked)
    assert reply.status_code == 200, reply.text
    return reply.json()


def worker(w: World) -> None:
    """The other side: a worker with an engine that needs no model."""
    w.worker()


async def test_a_gateway_process_serves_what_a_worker_computes_and_never_imports_jax(
    valkey: ValkeyServer,
) -> None:
    async with world(valkey.url) as w, serve(valkey.url) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert "no worker has registered yet" in ready.text
            worker(w)
            for _ in range(200):
                ready = await client.get("/readyz")
                if ready.status_code == 200:
                    break
                await asyncio.sleep(0.05)
            assert ready.status_code == 200, ready.text
            answer = await completion(client)
            letters = "".join(chr(97 + token % 26) for token in tokens_of(7, 8))
            assert answer["choices"][0]["text"] == letters
            assert answer["usage"]["completion_tokens"] == 8
            metrics = (await client.get("/metrics")).text
            assert f'model_name="{MODEL}"' in metrics
        print(f"listening after {gateway.listening_after_s:.2f} s, imports traced")
    assert "service.app" in gateway.imported
    assert "service.workers.redis" in gateway.imported
    loaded = {name.partition(".")[0] for name in gateway.imported}
    assert not loaded & {"jax", "jaxlib", "torch", "transformers"}
