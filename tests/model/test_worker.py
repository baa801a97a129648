"""The engine on its thread, with a real (tiny) model."""

from dataclasses import replace
from random import Random

import pytest

from model.contract import (
    Abort,
    Constraint,
    Group,
    GroupClosed,
    GroupFailed,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
)
from model.engine.config import EngineConfig
from model.engine.runner import JaxRunner
from tests.model.host import TINY, Host


def group(name: str, max_tokens: int = 8, paths: int = 1, **fields) -> Group:
    return Group(
        id=name,
        prompt=Prompt.of_tokens([5, 6, 7, 8, 9]),
        paths=tuple(
            PathRequest(
                index=i, sampling=SamplingParams(max_tokens=max_tokens, seed=i, ignore_eos=True)
            )
            for i in range(paths)
        ),
        **fields,
    )


@pytest.fixture(scope="module")
def host(parity_fixtures):
    host = Host(parity_fixtures / "gemma3")
    assert host.worker.status().state == "starting"
    assert host.worker.card.family == "gemma3"
    host.worker.start()
    # Commands sent while it loads wait for it.
    host.worker.send(Submit(group=group("first")))
    assert isinstance(host.until_end("first")[-1], GroupClosed)
    yield host
    host.worker.stop()


def test_it_serves_groups_and_counts_what_it_did(host):
    before = host.worker.status()
    host.worker.send(Submit(group=group("a", paths=3)))
    events = host.until_end("a")
    tokens = sum(len(e.tokens) for e in events if isinstance(e, PathOutput))
    assert tokens == 24
    after = host.worker.status()
    assert after.state == "ready"
    assert after.decode_tokens > before.decode_tokens
    assert after.pages_used == 0


WISHES = (
    {"temperature": 0.0},
    {"top_k": 3, "top_p": 0.5, "min_p": 0.1},
    {"logprobs": 20},
    {"logit_bias": ((3, 5.0),), "min_tokens": 4},
    {"stop": ("x",), "stop_ids": (4,)},
    {"presence_penalty": 1.0, "frequency_penalty": 0.5},
    {"repetition_penalty": 1.3, "logprobs": 2},
    {"constraint": Constraint(regex="[a-z]{2,9}"), "certainty": True},
    {"constraint": Constraint(regex="[0-9]+", after="e"), "logprobs": 1, "presence_penalty": 1.0},
    {"certainty": True, "temperature": 0.5},
    {},
)


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, kernels="off"),
        TINY,
        replace(TINY, weights="int8", max_rows=12),
        replace(TINY, weights="int4", kv_bytes=2**17),
        replace(TINY, dtype="bfloat16", weights="int8", prefix_cache=False),
    ],
    ids=["plain", "kernels", "int8", "int4 and few pages", "bfloat16"],
)
def test_nothing_is_compiled_after_warm_up_whatever_is_asked_together(parity_fixtures, config):
    """A random mix: lengths, paths, wishes, scores, aborts, prompts that begin alike."""
    host = Host(parity_fixtures / "gemma3", config)
    host.worker.start()
    random = Random(7)
    names = [f"g{i}" for i in range(60)]
    for i, name in enumerate(names):
        length = random.choice([1, 2, 15, 16, 17, 40, 60])
        paths = tuple(
            PathRequest(
                index=p,
                sampling=SamplingParams(
                    max_tokens=random.randint(4, 30), seed=random.getrandbits(60), **wish
                ),
                suffix=tuple([9] * random.choice([0, 0, 1, 5])),
            )
            for p, wish in enumerate(random.choices(WISHES, k=random.randint(1, 6)))
        )
        host.worker.send(
            Submit(
                group=Group(
                    id=name,
                    prompt=Prompt.of_tokens(
                        [7] * (length // 2) + [i % 60] * (length - length // 2)
                    ),
                    paths=paths,
                    prompt_logprobs=random.choice([None, None, None, 0, 5]),
                )
            )
        )
        if random.random() < 0.2:
            host.worker.send(Abort(group_id=random.choice(names[: i + 1])))
    running = set(names)
    while running:
        event = host.events.get(timeout=60)
        assert not isinstance(event, GroupFailed), event.message
        if isinstance(event, GroupClosed):
            running.remove(event.group_id)
    host.worker.stop()
    status = host.worker.status()
    assert status.state == "stopped"
    assert status.compilations_after_warmup == 0
    assert status.pages_used == 0
    assert status.decode_tokens > 500


def test_an_abort_ends_a_running_group(host):
    host.worker.send(Submit(group=group("long", max_tokens=90)))
    while not isinstance(host.events.get(timeout=60), PathOutput):
        pass
    host.worker.send(Abort(group_id="long"))
    events = host.until_end("long")
    assert any(isinstance(e, PathOutput) and e.finish.reason == "abort" for e in events if e.finish)
    assert host.worker.status().pages_used == 0


def test_a_stopped_worker_finishes_what_runs_and_refuses_what_comes_later(parity_fixtures):
    host = Host(parity_fixtures / "llama")
    host.worker.start()
    host.worker.send(Submit(group=group("warm")))
    host.until_end("warm")
    host.worker.send(Submit(group=group("a", max_tokens=60)))
    host.worker.stop(drain_s=60)
    assert isinstance(host.until_end("a")[-1], GroupClosed)
    assert host.worker.status().state == "stopped"
    host.worker.send(Submit(group=group("late")))
    (failed,) = host.until_end("late")
    assert failed.code == "unavailable"


def test_stopping_while_it_loads_does_not_wait_for_the_rest(parity_fixtures):
    host = Host(parity_fixtures / "llama")
    host.worker.start()
    host.worker.send(Submit(group=group("a")))
    host.worker.stop()
    (failed,) = host.until_end("a")
    assert failed.code == "unavailable"
    assert host.worker.status().state == "stopped"


def test_a_step_that_fails_ends_every_group_with_an_error_and_hangs_nobody(
    parity_fixtures, monkeypatch
):
    steps = iter(range(100))

    def run(self, plan):
        if next(steps) == 5:
            raise RuntimeError("out of device memory\nwith details")
        return original(self, plan)

    original = JaxRunner.run
    monkeypatch.setattr(JaxRunner, "run", run)
    host = Host(parity_fixtures / "llama")
    host.worker.start()
    names = [f"g{i}" for i in range(6)]  # more than there are rows, so some still wait
    for name in names:
        host.worker.send(Submit(group=group(name, max_tokens=50)))
    ends = {}
    while len(ends) < len(names):
        event = host.events.get(timeout=60)
        if isinstance(event, GroupFailed):
            ends[event.group_id] = event.code
    assert ends == dict.fromkeys(names, "unavailable")
    host.worker.stop()
    assert host.worker.status().state == "failed"
    assert host.worker.status().detail == "RuntimeError: out of device memory"


def test_a_worker_that_cannot_load_says_why_and_refuses(parity_fixtures):
    host = Host(parity_fixtures / "llama", EngineConfig(dtype="float32", kv_bytes=1000))
    host.worker.start()
    host.worker.send(Submit(group=group("a")))
    (failed,) = host.until_end("a")
    assert failed.code == "unavailable"
    status = host.worker.status()
    assert status.state == "failed"
    assert "lower --context" in status.detail
