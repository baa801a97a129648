"""A calibration in force: what it completes, whom it speaks for, and how drift is watched."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model.contract import Group, PathRequest
from model.text.language import ChatMessage
from routing.calibration.artefact import VERSION, Artefact, encode, named
from routing.calibration.drift import MIN_OBSERVED
from routing.policy import RoutingPolicy
from service.api.internal import Ask, Chat
from service.api.planning import Served
from service.api.setups import setup_of
from service.shadow import MAX_WAITING
from tests.scripted import PathScript, ScriptedWorker, say
from tests.service.support import (
    MODEL,
    Running,
    card,
    eventually,
    running,
    settings_of,
    tiny_text,
)

QUESTION = {"role": "user", "content": "What is 2 + 2?"}
CALIBRATED: dict[str, Any] = {
    "k": 4, "min_votes": 3, "answer": "number", "temperature": 0.9, "top_p": 0.8, "max_tokens": 64,
}  # fmt: skip


def artefact_of(system: str = "", **policy: object) -> Artefact:
    """As `pollux calibrate` would write it for the model of these tests."""
    text = tiny_text()
    served = Served(card(text), text, routed=True)
    asked = RoutingPolicy.model_validate({**CALIBRATED, **policy})
    unnamed = Artefact(
        version=VERSION,
        id="",
        created="2026-11-24T00:00:00Z",
        setup=setup_of(asked, served, settings_of(), system=system),
        arm="routed",
        k=asked.k,
        min_votes=asked.threshold,
        tau=f"{asked.threshold - 1}/{asked.k}",
        guarantee=None,
        k_max=asked.k,
        consensus=[0, 0, 10, 30, 60],
        consensus_k_max=[0, 0, 10, 30, 60],
        invalid_rate=0.125,
        questions=100,
        reported=50,
    )
    return named(unnamed)


@pytest.fixture
def calibrated(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.json"
    path.write_bytes(encode(artefact_of()))
    return path


def four(group: Group, path: PathRequest) -> PathScript:
    return say("2 and 2\nAnswer: 4" if path.index != 3 else "2 and 2\nAnswer: 5")


async def asked(
    server: Running, *, model: str = f"{MODEL}:routed", messages: object = None, **routing: object
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": messages or [QUESTION]}
    if routing:
        body["uncertainty_routing"] = routing
    async with httpx.AsyncClient(base_url=server.url) as client:
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["uncertainty_routing"]


async def test_what_the_caller_leaves_open_is_as_it_was_calibrated(calibrated: Path) -> None:
    async with running(four, calibration=calibrated, shadow_fraction=0) as server:
        decision = await asked(server)
        paths = server.worker.groups[1].requests[0].sampling
        assert (decision["k"], decision["min_votes"], decision["answer"]) == (4, 3, "4")
        assert decision["calibration"] == artefact_of().id
        assert (paths.temperature, paths.top_p, paths.max_tokens) == (0.9, 0.8, 64)

        named = await asked(server, model=MODEL, plan="latency")
        assert named["calibration"] == artefact_of().id


@pytest.mark.parametrize(
    "change",
    [
        {"k": 5},
        {"min_votes": 2},
        {"temperature": 0.7},
        {"answer": "exact"},
        {"max_tokens": 63},
        {"weighting": "mean_logprob", "plan": "full"},
        {"budget": {"paths": 3}},
        {"plan": "lossy"},
        {"constrain": True},
    ],
)
async def test_it_does_not_speak_for_what_runs_otherwise(
    calibrated: Path, change: dict[str, object]
) -> None:
    async with running(four, calibration=calibrated, shadow_fraction=0) as server:
        assert (await asked(server, **change))["calibration"] is None


async def test_a_conversation_that_was_not_calibrated_is_not_spoken_for(calibrated: Path) -> None:
    turns = [QUESTION, {"role": "assistant", "content": "4"}, QUESTION]
    told = [{"role": "system", "content": "Be brief."}, QUESTION]
    async with running(four, calibration=calibrated, shadow_fraction=0) as server:
        assert (await asked(server, messages=turns))["calibration"] is None
        assert (await asked(server, messages=told))["calibration"] is None


async def test_a_system_message_belongs_to_the_calibration(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(encode(artefact_of(system="Be brief.")))
    told = [{"role": "system", "content": "Be brief."}, QUESTION]
    async with running(four, calibration=path, shadow_fraction=0) as server:
        assert (await asked(server, messages=told))["calibration"] is not None
        assert (await asked(server))["calibration"] is None


async def test_parameters_of_the_request_count_too(calibrated: Path) -> None:
    async with (
        running(four, calibration=calibrated, shadow_fraction=0) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        body = {"model": f"{MODEL}:routed", "messages": [QUESTION], "top_k": 3}
        reply = await client.post("/v1/chat/completions", json=body)
        assert reply.json()["uncertainty_routing"]["calibration"] is None


async def test_the_server_says_what_no_longer_fits(calibrated: Path) -> None:
    async with running(four, calibration=calibrated) as server:
        assert server.gateway.calibration_refusals() == []
        server.backend.card = msgspec.structs.replace(
            server.backend.card, fingerprint="fedcba", quantization="Q4"
        )
        assert server.gateway.calibration_refusals() == [
            "weights: fedcba here, 0123456789abcdef there",
            "quantization: Q4 here, F32 there",
        ]
        assert (await asked(server))["calibration"] is None


def gauges(server: Running) -> dict[str, float]:
    families = text_string_to_metric_families(server.gateway.metrics.exposition().decode())
    return {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("pollux:routing_") and "bucket" not in sample.name
    }


async def test_shadows_run_all_paths_after_the_answer_and_show_drift(calibrated: Path) -> None:
    def unsure(group: Group, path: PathRequest) -> PathScript:
        return say(f"hm\nAnswer: {path.index if path.index else 'unknown'}")

    async with running(unsure, calibration=calibrated, shadow_fraction=1) as server:
        for _ in range(MIN_OBSERVED):
            await asked(server)
            await eventually(lambda: not server.gateway.shadows._tasks)
        seen = gauges(server)
        assert seen["pollux:routing_drift_polls"] == MIN_OBSERVED
        assert seen["pollux:routing_drift"] > seen["pollux:routing_drift_limit"]
        assert seen["pollux:routing_shadow_invalid"] == pytest.approx(0.25)
        assert seen["pollux:routing_calibration_invalid"] == 0.125
        full = [s for s in server.worker.groups if s.group.id.endswith("-shadow-paths")]
        assert {len(stream.finished) for stream in full} == {4}
        assert server.worker.idle


async def test_without_enough_polls_nothing_is_said(calibrated: Path) -> None:
    async with running(four, calibration=calibrated, shadow_fraction=1) as server:
        await asked(server)
        await eventually(lambda: not server.gateway.shadows._tasks)
        seen = gauges(server)
        assert seen["pollux:routing_drift_polls"] == 1
        assert seen["pollux:routing_drift"] != seen["pollux:routing_drift"]  # NaN


async def test_only_what_the_calibration_speaks_for_is_shadowed(calibrated: Path) -> None:
    async with running(four, calibration=calibrated, shadow_fraction=1) as server:
        await asked(server, k=5)
        assert not server.gateway.shadows._tasks


PLAIN = Ask(model=f"{MODEL}:routed", input=Chat((ChatMessage(role="user", content="2 + 2?"),)))


def dropped(server: Running) -> float:
    families = text_string_to_metric_families(server.gateway.metrics.exposition().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "pollux:routing_shadow_polls_total"
        and sample.labels["result"] == "dropped"
    )


async def test_too_many_shadows_are_dropped_and_those_left_end_with_the_server(
    calibrated: Path,
) -> None:
    stuck = asyncio.Event()

    async def pace() -> None:
        if server.gateway.shadows._tasks:
            await stuck.wait()
        await asyncio.sleep(0)

    worker = ScriptedWorker(four, pace=pace)
    async with running(worker, calibration=calibrated, shadow_fraction=1) as server:
        await asked(server)
        await eventually(lambda: len(server.worker.groups) > 2)
        plan = dataclasses.replace(await server.gateway.plan(PLAIN), calibration="any")
        for _ in range(MAX_WAITING + 2):
            server.gateway.shadows.offer(plan)
        assert len(server.gateway.shadows._tasks) == MAX_WAITING
        assert dropped(server) == 3
    assert worker.idle


async def test_an_answered_question_counts_as_one() -> None:
    async with running(four) as server:
        await asked(server, k=2, answer="number")
        families = text_string_to_metric_families(server.gateway.metrics.exposition().decode())
        ended = {
            sample.labels["finished_reason"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "vllm:request_success_total"
        }
        assert ended == {"stop": 1}


async def test_a_constraint_that_depends_on_the_question_is_no_other_setup(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(encode(artefact_of(answer="choice", constrain=True)))
    pick = [{"role": "user", "content": "Which is a fruit?\nX) oak\nA) oak\nB) pear"}]
    async with running(four, calibration=path, shadow_fraction=0) as server:
        assert (await asked(server, messages=pick))["calibration"] is not None
        assert (await asked(server, messages=pick, constrain=False))["calibration"] is None
