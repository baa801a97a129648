"""Gateways and workers over a real broker: what a caller sees."""

import asyncio

import pytest

from model.contract import GroupStarted, PathOutput, WorkerUnavailable
from model.wire import Keys
from service.workers.embedded import EmbeddedBackend
from tests.broker_world import Answer, ask, group, path, until, world
from tests.fake_engine import MODEL, FakeEngine, tokens_of
from tests.valkey import ValkeyServer


async def test_the_same_request_gives_the_same_tokens_embedded_and_over_the_broker(
    valkey: ValkeyServer,
) -> None:
    asked = group("g", paths=3, tokens=20)
    embedded = EmbeddedBackend(FakeEngine)
    await embedded.start()
    await until(lambda: embedded.status().state == "ready")
    here = await ask(embedded, asked)
    await embedded.stop()
    async with world(valkey.url) as w:
        w.worker()
        there = await ask(await w.gateway(), asked)
    assert there.closed
    assert there.tokens == here.tokens == {i: tokens_of(100 + i, 20) for i in range(3)}
    assert there.text == here.text
    assert there.finish == here.finish


async def test_the_gateway_learns_card_and_tokenizer_from_the_broker(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        gateway = await w.gateway(ready=False)
        await until(lambda: "no worker has registered yet" in gateway.status().detail)
        assert gateway.card is None
        assert gateway.text is None
        running = w.worker()
        await until(lambda: gateway.status().state == "ready")
        assert gateway.card == running.engine.card
        assert gateway.text.encode_text("abc") == running.engine.text.encode_text("abc")


async def test_a_worker_that_loads_is_shown_and_gets_nothing(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        w.worker(slow_start_s=1.0)
        gateway = await w.gateway(ready=False)
        await until(lambda: "loading weights 50%" in gateway.status().detail)
        assert gateway.status().state == "starting"
        with pytest.raises(WorkerUnavailable, match="loading weights"):
            gateway.worker.open(group("g"))


async def test_a_gateway_for_another_model_says_what_there_is(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        w.worker()
        await w.gateway()
        other = await w.gateway(ready=False, model="other")
        await until(lambda: f"on the broker: {MODEL}" in other.status().detail)


async def test_without_a_broker_requests_are_refused(tmp_path: object) -> None:
    async with world(f"unix://{tmp_path}/none") as w:
        gateway = await w.gateway(ready=False)
        await until(lambda: gateway.status().detail == "the broker cannot be reached")
        with pytest.raises(WorkerUnavailable, match="broker cannot be reached"):
            gateway.worker.open(group("g"))


async def test_two_workers_share_the_load(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        first, second = w.worker(), w.worker()
        gateway = await w.gateway()
        await until(lambda: gateway.status().max_rows == 8)
        answers = await asyncio.gather(
            *(ask(gateway, group(f"g{i}", paths=4, tokens=30)) for i in range(12))
        )
        assert all(answer.closed for answer in answers)
        assert all(a.tokens[3] == tokens_of(103, 30) for a in answers)
        assert first.engine.seen
        assert second.engine.seen


async def test_every_gateway_gets_its_own_answers(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        w.worker(max_rows=64)
        gateways = [await w.gateway() for _ in range(3)]
        answers = await asyncio.gather(
            *(ask(g, group(f"g{i}-{j}")) for i, g in enumerate(gateways) for j in range(5))
        )
        for answer in answers:
            assert answer.tokens == {0: tokens_of(100, 5)}
            assert len({event.group_id for event in answer.events}) == 1


async def test_aborting_a_path_leaves_the_others_running(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        w.worker(pace_s=0.005)
        gateway = await w.gateway()
        answer = Answer()
        async with gateway.worker.open(group("g", paths=2, tokens=200)) as stream:
            async for event in stream:
                if not answer.events:
                    await stream.abort([1])
                answer.add(event)
        assert answer.finish == {0: "length", 1: "abort"}
        assert answer.tokens[0] == tokens_of(100, 200)
        assert answer.closed


async def test_leaving_a_group_frees_its_rows_while_others_decode(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(pace_s=0.002)
        gateway = await w.gateway()
        other = asyncio.create_task(ask(gateway, group("other", tokens=1500)))
        async with gateway.worker.open(group("g", paths=3, tokens=100_000)) as stream:
            async for event in stream:
                if isinstance(event, PathOutput):
                    break
        await until(lambda: running.engine.status().groups == 1)
        assert (await other).tokens == {0: tokens_of(100, 1500)}
        await until(lambda: running.engine.idle)
        with valkey.client() as client:
            await until(lambda: client.xlen(Keys(MODEL).work) == 0)


async def test_an_open_group_takes_more_paths_on_the_worker_that_has_it(
    valkey: ValkeyServer,
) -> None:
    async with world(valkey.url) as w:
        workers = [w.worker(), w.worker()]
        gateway = await w.gateway()
        await until(lambda: gateway.status().max_rows == 8)
        for number in range(6):
            answer = Answer()
            async with gateway.worker.open(group(f"g{number}", open=True)) as stream:
                await stream.extend([path(1, 5)])  # before the owner is known
                async for event in stream:
                    answer.add(event)
                    if set(answer.finish) == {0, 1}:
                        await stream.extend([path(2, 5)])
                        answer.finish[-1] = "extended"
                    if 2 in answer.finish:
                        await stream.abort()
            assert answer.tokens == {i: tokens_of(100 + i, 5) for i in range(3)}
            assert answer.closed
        assert all(worker.engine.seen for worker in workers)


async def test_a_group_that_no_worker_took_is_withdrawn_at_once(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(max_rows=1, pace_s=0.005)
        gateway = await w.gateway()
        running.engine.hold.set()
        busy = [asyncio.create_task(ask(gateway, group(f"b{i}"))) for i in range(2)]
        await until(lambda: running.engine.status().groups == 2)
        answer = Answer()
        async with gateway.worker.open(group("late", paths=2)) as stream:
            await stream.abort()
            async for event in stream:
                answer.add(event)
        assert answer.closed
        assert answer.finish == {0: "abort", 1: "abort"}
        running.engine.hold.clear()
        assert all(each.closed for each in await asyncio.gather(*busy))
        assert (await ask(gateway, group("next"))).closed
        assert not any("late" in repr(command) for command in running.engine.seen)


async def test_waiting_counts_sequences_that_no_worker_took(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(max_rows=1)
        gateway, other = await w.gateway(), await w.gateway()
        running.engine.hold.set()
        tasks = [asyncio.create_task(ask(gateway, group(f"g{i}", paths=2))) for i in range(3)]
        await until(lambda: running.engine.status().groups == 1)
        await until(lambda: gateway.status().waiting == 4)
        await until(lambda: other.status().waiting == 4)
        running.engine.hold.clear()
        assert all(each.closed for each in await asyncio.gather(*tasks))
        await until(lambda: other.status().waiting == 0)


async def test_time_in_the_brokers_queue_counts_as_queued(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(max_rows=1)
        gateway = await w.gateway()
        running.engine.hold.set()
        first = asyncio.create_task(ask(gateway, group("first", paths=2)))
        await until(lambda: running.engine.status().groups == 1)
        second = asyncio.create_task(ask(gateway, group("second")))
        await asyncio.sleep(0.3)
        running.engine.hold.clear()
        await first
        started = [e for e in (await second).events if isinstance(e, GroupStarted)]
        assert started[0].queued_s >= 0.25


async def test_a_deadline_that_passed_in_the_queue_is_answered(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(max_rows=1)
        gateway = await w.gateway()
        running.engine.hold.set()
        first = asyncio.create_task(ask(gateway, group("first", paths=2)))
        await until(lambda: running.engine.status().groups == 1)
        second = asyncio.create_task(ask(gateway, group("second", deadline_s=0.05)))
        await asyncio.sleep(0.2)
        running.engine.hold.clear()
        await first
        assert (await second).failed.code == "deadline"


async def test_a_step_of_many_paths_is_one_message(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        w.worker(max_rows=32, pace_s=0.01)
        gateway = await w.gateway()
        with valkey.client() as client:
            client.config_resetstat()
            answers = await asyncio.gather(
                *(ask(gateway, group(f"g{i}", paths=16, tokens=40)) for i in range(2))
            )
            written = client.info("commandstats")["cmdstat_xadd"]["calls"]
        tokens = sum(len(each) for answer in answers for each in answer.tokens.values())
        assert tokens == 2 * 16 * 40
        assert written < 120, "about 40 steps, two submissions, and what a heartbeat adds"
