"""How a worker makes itself known on the broker, learns who else lives, and tidies up."""

import socket
import time
from collections.abc import Collection
from typing import Any

import redis.asyncio as aioredis
from msgspec import ValidationError

from model.contract import ModelCard, WorkerStatus, encode
from model.members import create_consumer_group, live_workers
from model.text.assets import TextAssets
from model.wire import (
    CONSUMER_GROUP,
    FIELD,
    MAILBOX_TTL_MS,
    MODELS,
    TEXT_TTL_MS,
    WORK_TTL_MS,
    Keys,
    Timing,
    WorkerRecord,
    decode_work_head,
    identity_of,
    text_key,
)

SWEEP_ENTRIES = 100


class ConflictingWorker(Exception):
    """The model's name is taken by workers that would compute other tokens. One line."""


class Registration:
    """One worker's place on the broker. Every method is one exchange, safe to repeat."""

    def __init__(
        self,
        redis: aioredis.Redis,
        worker_id: str,
        card: ModelCard,
        text: TextAssets,
        timing: Timing,
    ) -> None:
        self._redis = redis
        self._id = worker_id
        self._card = card
        self._text = text
        self._timing = timing
        self._keys = Keys(card.name)
        self._identity = identity_of(card).encode()
        self._started = time.time()
        self._host = socket.gethostname()

    async def beat(self, status: WorkerStatus, gateways: Collection[str]) -> set[str]:
        """Renews the lease and every key that this worker answers for.

        Returns those of `gateways` that live. Raises ConflictingWorker.
        """
        await self._publish_text()
        keys, lease = self._keys, self._timing.lease_ms
        record = WorkerRecord(
            id=self._id, card=self._card, status=status, started=self._started, host=self._host
        )
        asked = list(gateways)
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(keys.identity, self._identity, nx=True, px=lease)
        pipe.get(keys.identity)
        for gateway in asked:
            pipe.exists(keys.gateway(gateway))
        _, identity, *alive = await pipe.execute()
        if identity is not None and identity != self._identity:
            raise ConflictingWorker(
                f"workers on this broker serve {self._card.name} with other weights, type, "
                f"tokenizer or context ({identity.decode()} there, {self._identity.decode()} here)"
            )
        pipe = self._redis.pipeline(transaction=False)
        pipe.pexpire(keys.identity, lease)
        pipe.set(keys.worker(self._id), encode(record), px=lease)
        pipe.sadd(keys.workers, self._id)
        pipe.pexpire(keys.workers, MAILBOX_TTL_MS)
        pipe.sadd(MODELS, self._card.name)
        pipe.pexpire(MODELS, MAILBOX_TTL_MS)
        pipe.pexpire(keys.work, WORK_TTL_MS)
        pipe.pexpire(keys.control(self._id), MAILBOX_TTL_MS)
        await pipe.execute()
        return {gateway for gateway, exists in zip(asked, alive, strict=True) if exists}

    async def another_is_ready(self) -> bool:
        """Whether some other worker could take this one's groups."""
        workers = await live_workers(self._redis, self._keys)
        return any(w.status.state == "ready" for w in workers if w.id != self._id)

    async def leave(self) -> None:
        """Takes the worker off the broker. Its consumer goes only when it owns nothing."""
        keys = self._keys
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(keys.worker(self._id), keys.control(self._id))
        pipe.srem(keys.workers, self._id)
        await pipe.execute()
        if not await self._pending(self._id, 1):
            await self._redis.xgroup_delconsumer(keys.work, CONSUMER_GROUP, self._id)

    async def sweep(self) -> None:
        """Removes what crashed workers left for gateways that are gone as well.

        Entries of a living gateway stay: the gateway deals with them.
        """
        keys = self._keys
        models: Any = await self._redis.smembers(MODELS)
        for model in models:
            if not await self._redis.exists(Keys(model.decode()).workers):
                await self._redis.srem(MODELS, model)
        await create_consumer_group(self._redis, keys)
        for consumer in await self._redis.xinfo_consumers(keys.work, CONSUMER_GROUP):
            name = consumer["name"].decode()
            silent = consumer["idle"] > 3 * self._timing.lease_ms
            if not silent or await self._redis.exists(keys.worker(name)):
                continue
            if not consumer["pending"]:
                await self._redis.xgroup_delconsumer(keys.work, CONSUMER_GROUP, name)
                continue
            for entry in await self._pending(name, SWEEP_ENTRIES):
                if not await self._wanted(entry):
                    await self._redis.xack(keys.work, CONSUMER_GROUP, entry)
                    await self._redis.xdel(keys.work, entry)

    async def _publish_text(self) -> None:
        key = text_key(self._card.tokenizer)
        if not await self._redis.pexpire(key, TEXT_TTL_MS):
            await self._redis.set(key, self._text.encode(), px=TEXT_TTL_MS)

    async def _pending(self, consumer: str, count: int) -> list[bytes]:
        rows: list[Any] = await self._redis.xpending_range(
            self._keys.work, CONSUMER_GROUP, "-", "+", count, consumername=consumer
        )
        return [row["message_id"] for row in rows]

    async def _wanted(self, entry: bytes) -> bool:
        found: Any = await self._redis.xrange(self._keys.work, entry, entry)
        if not found:
            return False
        try:
            head = decode_work_head(found[0][1][FIELD])
        except (ValidationError, KeyError):
            return False
        return bool(await self._redis.exists(self._keys.gateway(head.gateway)))
