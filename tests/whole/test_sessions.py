"""Conversations over sockets with the default model: what a turn has read, the next finds."""

import asyncio
from pathlib import Path

import pytest

from model.checkpoints import open_checkpoint
from model.engine.config import EngineConfig
from service.workers.embedded import embedded_backend
from tests.service.sessions.support import live, realtime
from tests.service.support import MODEL, eventually, running

pytestmark = [pytest.mark.checkpoint, pytest.mark.timeout(600)]

CONFIG = EngineConfig(max_rows=8, context=768, prefill_chunk=64, kv_bytes=2**27)


async def test_turns_find_what_was_read_and_interruption_frees_the_engine(
    default_checkpoint: Path,
) -> None:
    backend = embedded_backend(open_checkpoint(default_checkpoint), MODEL, CONFIG)
    async with running(lambda g, p: "", backend=backend) as server:
        while backend.status().state != "ready":
            assert backend.status().state == "starting"
            await asyncio.sleep(0.05)
        async with live(server) as client:
            await client.set_up(generationConfig={"maxOutputTokens": 40, "seed": 1})
            first = await client.ask("Name some rivers of Europe, and where they end.")
            await eventually(lambda: backend.status().holds == 1)
            second = await client.ask("And of Asia?")
            await eventually(lambda: backend.status().holds == 1)
            assert backend.status().held_pages > 0
        await eventually(lambda: backend.status().holds == 0)
        used = second[-1]["usageMetadata"]
        assert used["cachedContentTokenCount"] >= CONFIG.page_size
        assert used["promptTokenCount"] > first[-1]["usageMetadata"]["totalTokenCount"]

        async with realtime(server) as client:
            await client.ask("Name some rivers of Europe.", max_output_tokens=40)
            done = (await client.ask("And of Asia?", max_output_tokens=8))[-1]["response"]
            assert done["usage"]["input_token_details"]["cached_tokens"] >= CONFIG.page_size

        async with live(server) as client:
            await client.set_up()
            await client.say("Tell me a very long story about a river.")
            while "modelTurn" not in (await client.hear())["serverContent"]:
                pass
            await client.say("Stop.", complete=False)
            interrupted = await client.turn()
            assert any(m["serverContent"].get("interrupted") for m in interrupted)
            await eventually(lambda: backend.status().running == 0)
        await eventually(lambda: backend.status().groups == 0)
        assert backend.status().held_pages == 0
        assert backend.status().compilations_after_warmup == 0
