"""Embeddings of a worker behind a broker."""

import openai

from service.workers.embedded import EmbeddedBackend
from service.workers.redis import RedisBackend
from tests.broker_world import until, world
from tests.fake_engine import MODEL, FakeEngine
from tests.service.support import running
from tests.service.test_openai_embeddings import unused
from tests.valkey import ValkeyServer

TEXTS = [f"text {number}" for number in range(100)]


async def vectors(backend) -> list[list[float]]:
    async with (
        running(unused, backend=backend) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as ai,
    ):
        await until(lambda: backend.status().state == "ready")
        reply = await ai.embeddings.create(model=MODEL, input=TEXTS)
        assert reply.usage.prompt_tokens == sum(map(len, TEXTS))
        assert server.gateway.admission.paths == 0
    return [entry.embedding for entry in reply.data]


async def test_vectors_are_the_same_embedded_and_over_the_broker(valkey: ValkeyServer) -> None:
    here = await vectors(EmbeddedBackend(FakeEngine))
    async with world(valkey.url) as w:
        running_worker = w.worker()
        there = await vectors(RedisBackend(w.url, MODEL, timing=w.timing))
        # Every group's end was heard: nothing is owned any more, nothing waits on the broker.
        await until(lambda: len(running_worker.worker._desk.ledger) == 0)
    assert here == there
    assert len({tuple(vector) for vector in here}) > 10
