"""Health, version and metrics."""

import subprocess
import sys

import httpx
from prometheus_client.parser import text_string_to_metric_families

from model.contract import WorkerStatus
from tests.scripted import Failure, Gate, PathScript, ScriptedWorker
from tests.service.support import MODEL, eventually, running
from tests.service.test_routed import POLICY, three_of_four

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
NAMES = {"model_name": MODEL, "engine": "0"}


async def scrape(url: str) -> dict[tuple[str, frozenset], float]:
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{url}/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(samples, name: str, **labels: str) -> float:
    return samples[name, frozenset({**NAMES, **labels}.items())]


async def test_health_follows_the_worker() -> None:
    status = WorkerStatus(state="starting", detail="compiling", progress=0.25)
    async with running(lambda g, p: "x", status=status) as server, httpx.AsyncClient() as http:
        assert (await http.get(f"{server.url}/healthz")).status_code == 200
        ready = await http.get(f"{server.url}/readyz")
        assert ready.status_code == 503
        assert ready.json() == {"state": "starting", "detail": "compiling", "progress": 0.25}
        health = await http.get(f"{server.url}/health")
        assert (health.status_code, health.content) == (503, b"")
        server.backend.fixed_status = WorkerStatus(state="ready")
        assert (await http.get(f"{server.url}/readyz")).status_code == 200
        health = await http.get(f"{server.url}/health")
        assert (health.status_code, health.content) == (200, b"")
        assert (await http.get(f"{server.url}/version")).json()["version"]


async def test_the_backend_lives_as_long_as_the_application() -> None:
    async with running(lambda g, p: "x") as server:
        assert (server.backend.started, server.backend.stopped) == (1, 0)
    assert (server.backend.started, server.backend.stopped) == (1, 1)


async def test_plain_requests_are_counted_as_they_ran() -> None:
    async with running(lambda g, p: "one two three") as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1/chat/completions"
        await http.post(url, json={**ASK, "n": 2})
        await http.post(url, json={**ASK, "max_tokens": 2})
        samples = await scrape(server.url)
    assert at(samples, "vllm:prompt_tokens_total") == 16
    assert at(samples, "vllm:generation_tokens_total") == 3 + 3 + 2
    assert at(samples, "vllm:request_success_total", finished_reason="stop") == 1
    assert at(samples, "vllm:request_success_total", finished_reason="length") == 1
    assert at(samples, "vllm:time_to_first_token_seconds_count") == 2
    assert at(samples, "vllm:e2e_request_latency_seconds_count") == 2
    assert at(samples, "vllm:inter_token_latency_seconds_count") == 2 + 2 + 1
    assert at(samples, "vllm:request_params_n_sum") == 3
    assert at(samples, "pollux:requests_in_flight") == 0


async def test_failed_and_left_requests_are_counted_as_such() -> None:
    gate = Gate()
    broken = PathScript((), Failure("internal", "broke"))
    worker = ScriptedWorker(lambda g, p: broken if len(g.prompt) == 4 else "a b", pace=gate)
    async with running(worker) as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1/chat/completions"
        gate.step(2)
        short = {**ASK, "messages": [{"role": "user", "content": "x"}]}
        await http.post(url, json=short)
        async with http.stream("POST", url, json={**ASK, "stream": True}) as reply:
            await anext(reply.aiter_bytes())
        await eventually(lambda: worker.idle)
        samples = await scrape(server.url)
    assert at(samples, "vllm:request_success_total", finished_reason="error") == 1
    assert at(samples, "vllm:request_success_total", finished_reason="abort") == 1


async def test_routed_questions_are_counted_by_what_came_of_them() -> None:
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        body = {**ASK, "uncertainty_routing": POLICY}
        await http.post(f"{server.url}/v1/chat/completions", json=body)
        await http.post(
            f"{server.url}/v1/chat/completions",
            json={**ASK, "uncertainty_routing": {**POLICY, "k": 64, "min_votes": 64, "tau": None,
                                                 "plan": "greedy_first"}},
        )  # fmt: skip
        samples = await scrape(server.url)
        second = server.worker.groups[-1]
    assert at(samples, "pollux:routed_requests_total", route="majority") == 1
    assert at(samples, "pollux:routing_samples_to_decision_count") == 2
    assert at(samples, "pollux:routing_consensus_bucket", le="0.8") >= 1
    assert at(samples, "pollux:routing_paths_total", outcome="invalid") >= 1
    saved = 64 - len(second.requests)
    assert saved > 0
    assert at(samples, "pollux:routing_paths_total", outcome="saved") == saved
    mean = sum(second.produced.values()) / len(second.requests)
    assert at(samples, "pollux:routing_tokens_saved_total") == saved * mean


async def test_gauges_show_the_worker_as_it_is() -> None:
    status = WorkerStatus(
        state="ready",
        running=5,
        waiting=7,
        pages_used=25,
        pages_total=100,
        page_size=16,
        preemptions=3,
        compilations_after_warmup=1,
        media_queries=9,
        media_hits=4,
    )
    async with running(lambda g, p: "x", status=status) as server:
        samples = await scrape(server.url)
    assert at(samples, "vllm:mm_cache_queries_total") == 9
    assert at(samples, "vllm:mm_cache_hits_total") == 4
    assert at(samples, "vllm:num_requests_running") == 5
    assert at(samples, "vllm:num_requests_waiting") == 7
    assert at(samples, "vllm:kv_cache_usage_perc") == 0.25
    assert at(samples, "vllm:num_preemptions_total") == 3
    assert at(samples, "vllm:cache_config_info", block_size="16", num_gpu_blocks="100") == 1
    assert at(samples, "pollux:engine_compilations_after_warmup_total") == 1
    assert at(samples, "pollux:worker_state", state="ready") == 1
    assert at(samples, "pollux:worker_state", state="failed") == 0


async def test_two_applications_count_for_themselves() -> None:
    async with running(lambda g, p: "x") as one, running(lambda g, p: "x") as two:
        async with httpx.AsyncClient() as http:
            await http.post(f"{one.url}/v1/chat/completions", json=ASK)
        name = ("vllm:prompt_tokens_total", frozenset(NAMES.items()))
        assert (await scrape(one.url))[name] == 8
        assert name not in await scrape(two.url)


def test_the_gateway_imports_no_jax() -> None:
    code = (
        "import sys, service.app, service.workers.redis, service.cli; "
        "sys.exit(any(name.split('.')[0] in ('jax', 'jaxlib') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
