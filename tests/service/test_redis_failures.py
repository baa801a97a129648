"""Gateways and workers over a real broker, when one of the three goes away."""

import asyncio
import logging

import pytest

from model.contract import PathOutput, WorkerUnavailable
from model.wire import CONSUMER_GROUP, Keys, Timing
from tests.broker_world import Answer, ask, group, until, world
from tests.fake_engine import MODEL, tokens_of
from tests.valkey import ValkeyServer


async def start_long_group(gateway, name: str, paths: int = 1) -> tuple[asyncio.Task, Answer]:
    """A group that ends only when it is made to; returns once it has produced something."""
    answer = Answer()

    async def read() -> Answer:
        async with gateway.worker.open(group(name, paths=paths, tokens=100_000)) as stream:
            async for event in stream:
                answer.add(event)
        return answer

    task = asyncio.create_task(read())
    await until(lambda: answer.tokens)
    return task, answer


async def test_a_group_fails_when_its_worker_vanishes(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        lost = w.worker()
        gateway = await w.gateway()
        task, _ = await start_long_group(gateway, "g")
        lost.kill()
        answer = await task
        assert answer.failed.code == "unavailable"
        assert not answer.closed
        w.worker()
        await until(lambda: gateway.status().state == "ready")
        assert (await ask(gateway, group("next"))).tokens == {0: tokens_of(100, 5)}
        with valkey.client() as client:
            await until(lambda: client.xlen(Keys(MODEL).work) == 0)


async def test_without_a_live_worker_requests_are_refused(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker()
        gateway = await w.gateway()
        running.kill()
        await until(lambda: gateway.status().state != "ready")
        with pytest.raises(WorkerUnavailable, match="all workers are gone"):
            gateway.worker.open(group("g"))


async def test_a_queued_group_fails_when_no_worker_is_left(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(max_rows=1)
        gateway = await w.gateway()
        running.engine.hold.set()
        tasks = [asyncio.create_task(ask(gateway, group(f"g{i}", paths=2))) for i in range(2)]
        await until(lambda: running.engine.status().groups == 1)
        await until(lambda: gateway.status().waiting == 2)
        running.kill()
        for answer in await asyncio.gather(*tasks):
            assert answer.failed.code == "unavailable"


async def test_groups_of_a_gateway_that_vanished_are_ended(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker()
        lost, other = await w.gateway(), await w.gateway()
        task, _ = await start_long_group(lost, "g", paths=2)
        kept, answer = await start_long_group(other, "kept")
        for each in lost._tasks:
            each.cancel()
        await until(lambda: running.engine.status().groups == 1)
        before = len(answer.tokens[0])
        await until(lambda: len(answer.tokens[0]) > before)
        task.cancel()
        kept.cancel()


async def test_a_gateway_that_stops_ends_its_groups_and_leaves_nothing_behind(
    valkey: ValkeyServer,
) -> None:
    async with world(valkey.url) as w:
        running = w.worker()
        gateway = await w.gateway()
        task, answer = await start_long_group(gateway, "g")
        await gateway.stop()
        w.gateways.clear()
        await task
        assert answer.failed.message == "the server is shutting down"
        await until(lambda: running.engine.idle)
        with valkey.client() as client:
            keys = Keys(MODEL)
            await until(lambda: client.xlen(keys.work) == 0)
            assert not client.exists(keys.gateway(gateway.id))
            assert client.scard(keys.gateways) == 0


async def test_a_worker_that_stops_finishes_what_runs_and_leaves(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(pace_s=0.005)
        gateway = await w.gateway()
        task = asyncio.create_task(ask(gateway, group("g", paths=2, tokens=60)))
        await until(lambda: running.engine.status().groups == 1)
        running.worker.stop()
        await until(lambda: gateway.status().state == "draining")
        with pytest.raises(WorkerUnavailable):
            gateway.worker.open(group("late"))
        assert (await task).tokens == {i: tokens_of(100 + i, 60) for i in range(2)}
        assert await running.task == 0
        with valkey.client() as client:
            assert not client.exists(Keys(MODEL).worker(running.worker.id))
            assert client.xinfo_consumers(Keys(MODEL).work, CONSUMER_GROUP) == []


async def test_a_worker_that_stops_hands_back_what_has_not_started(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        first = w.worker()
        gateway = await w.gateway()
        first.engine.hold.set()
        tasks = [asyncio.create_task(ask(gateway, group(f"g{i}", tokens=20))) for i in range(3)]
        await until(lambda: first.engine.status().groups == 3)
        second = w.worker()
        await until(lambda: gateway.status().max_rows == 8)
        first.worker.stop()
        for answer in await asyncio.gather(*tasks):
            assert answer.closed
            assert answer.tokens == {0: tokens_of(100, 20)}
        assert await first.task == 0
        assert second.engine.seen


async def test_what_does_not_finish_in_the_grace_fails_as_unavailable(
    valkey: ValkeyServer,
) -> None:
    async with world(valkey.url) as w:
        running = w.worker(drain_s=0.2)
        gateway = await w.gateway()
        task, answer = await start_long_group(gateway, "g")
        running.worker.stop()
        await task
        assert answer.failed.code == "unavailable"
        assert await running.task == 0


async def test_stopping_twice_does_not_wait(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(drain_s=10_000)
        gateway = await w.gateway()
        task, answer = await start_long_group(gateway, "g")
        running.worker.stop()
        running.worker.stop()
        assert await running.task == 0
        await task
        assert answer.failed.code == "unavailable"


async def test_other_weights_under_the_same_name_are_refused(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(valkey.url) as w:
        w.worker()
        await w.gateway()
        other = w.worker(fingerprint="0" * 64)
        assert await other.task == 1
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info for record in errors] == [None]
    assert "other weights" in errors[0].message


async def test_a_worker_whose_engine_fails_ends_with_a_reason(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(valkey.url) as w:
        assert await w.worker(fails=True).task == 1
    assert "the engine has failed: the weights are damaged" in caplog.messages


async def test_a_running_group_survives_a_restart_of_the_broker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ValkeyServer() as server:
        async with world(server.url, Timing(heartbeat_s=0.1, lease_s=10)) as w:
            running = w.worker()
            gateway = await w.gateway()
            task = asyncio.create_task(ask(gateway, group("g", paths=2, tokens=300)))
            await until(lambda: running.engine.status().decode_tokens > 50)
            running.engine.hold.set()
            await asyncio.sleep(0.1)
            server.stop()
            await until(lambda: gateway.status().detail == "the broker cannot be reached")
            running.engine.hold.clear()  # it goes on decoding while there is nobody to tell
            await until(lambda: running.engine.idle)
            server.start()
            answer = await task
            assert answer.tokens == {i: tokens_of(100 + i, 300) for i in range(2)}
            await until(lambda: gateway.status().state == "ready")
            assert (await ask(gateway, group("next"))).closed
            for told in ("is away", "is back"):
                lines = [record for record in caplog.records if told in record.message]
                assert len(lines) == 2, "one line of the gateway, one of the worker"
                assert all(line.exc_info is None for line in lines)


@pytest.mark.parametrize("persist", [False, True])
async def test_a_queued_group_survives_a_restart_or_fails(persist: bool) -> None:
    with ValkeyServer(persist=persist) as server:
        async with world(server.url, Timing(heartbeat_s=0.1, lease_s=2)) as w:
            running = w.worker(max_rows=1)
            gateway = await w.gateway()
            running.engine.hold.set()
            first = asyncio.create_task(ask(gateway, group("first", paths=2)))
            await until(lambda: running.engine.status().groups == 1)
            queued = asyncio.create_task(ask(gateway, group("queued")))
            with server.client() as client:
                await until(lambda: client.xlen(Keys(MODEL).work) == 2)
            server.stop()
            server.start()
            await until(lambda: gateway.status().state == "ready")
            if persist:
                running.engine.hold.clear()
                assert (await queued).tokens == {0: tokens_of(100, 5)}
            else:
                assert (await queued).failed.message == "the group was lost on its way to a worker"
                running.engine.hold.clear()
            assert (await first).closed


async def test_both_sides_give_up_when_the_broker_stays_away() -> None:
    with ValkeyServer() as server:
        async with world(server.url) as w:
            running = w.worker()
            gateway = await w.gateway()
            task, answer = await start_long_group(gateway, "g")
            server.stop()
            await task
            assert answer.failed.message == "the broker cannot be reached"
            await until(lambda: running.engine.idle)
            server.start()
            await until(lambda: gateway.status().state == "ready")
            assert (await ask(gateway, group("next"))).tokens == {0: tokens_of(100, 5)}


async def test_every_key_expires_and_mailboxes_are_emptied(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker()
        gateway = await w.gateway()
        task, _ = await start_long_group(gateway, "g")
        async with gateway.worker.open(group("other", tokens=100_000)) as stream:
            async for event in stream:
                if isinstance(event, PathOutput):
                    break
        with valkey.client() as client:
            names = client.keys("*")
            assert len(names) >= 9
            assert [name for name in names if client.ttl(name) < 0] == []
            task.cancel()
            await until(lambda: running.engine.idle)
            keys = Keys(MODEL)
            for key in (keys.work, keys.results(gateway.id), keys.control(running.worker.id)):
                await until(lambda key=key: client.xlen(key) == 0)


async def test_entries_of_a_crashed_worker_and_a_vanished_gateway_are_swept(
    valkey: ValkeyServer,
) -> None:
    keys = Keys(MODEL)
    async with world(valkey.url) as w:
        crashed = w.worker()
        gateway = await w.gateway()
        crashed.engine.hold.set()
        task = asyncio.create_task(ask(gateway, group("g")))
        await until(lambda: crashed.engine.status().groups == 1)
        for each in gateway._tasks:
            each.cancel()
        crashed.kill()
        task.cancel()
        with valkey.client() as client:
            assert client.xlen(keys.work) == 1
            survivor = w.worker()
            await until(lambda: client.xlen(keys.work) == 0)
            await until(
                lambda: (
                    [
                        consumer["name"].decode()
                        for consumer in client.xinfo_consumers(keys.work, CONSUMER_GROUP)
                    ]
                    == [survivor.worker.id]
                )
            )
