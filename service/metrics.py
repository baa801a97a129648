"""Prometheus metrics in a registry of the application's own.

Names under `vllm:` are those that existing dashboards and the Kubernetes inference gateway read;
`pollux:` ones are about routing and this server. Intervals are measured inside this process.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model.contract import ModelCard, WorkerStatus
from service.guard.admission import Admission

LABELS = ("model_name", "engine")
ENGINE = "0"

TTFT_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
LATENCY_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
COUNT_BUCKETS = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64, 96, 128, 192, 256)
LENGTH_BUCKETS = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
SHARE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Outcome = Literal["stop", "length", "abort", "error"]
PathOutcome = Literal["run", "stopped", "saved", "invalid"]


class Metrics:
    """Counters and histograms that requests feed, and gauges read at each scrape."""

    def __init__(
        self,
        card: Callable[[], ModelCard | None],
        status: Callable[[], WorkerStatus],
        admission: Admission,
    ) -> None:
        self._card = card
        self._children: dict[tuple[object, ...], Any] = {}
        self.registry = CollectorRegistry()
        self.registry.register(_Gauges(self.labels, status, admission))
        counter, histogram = self._counter, self._histogram

        self.prompt_tokens = counter("vllm:prompt_tokens", "Prompt tokens of groups that started")
        self.generation_tokens = counter("vllm:generation_tokens", "Tokens that paths produced")
        self.cache_queries = counter("vllm:prefix_cache_queries", "Prompt tokens looked up")
        self.cache_hits = counter("vllm:prefix_cache_hits", "Prompt tokens found in the cache")
        self.success = counter(
            "vllm:request_success", "Requests by how they ended", "finished_reason"
        )
        self.first_token = histogram(
            "vllm:time_to_first_token_seconds", "From submission of a group", TTFT_BUCKETS
        )
        self.inter_token = histogram(
            "vllm:inter_token_latency_seconds", "Between tokens of a path", TOKEN_BUCKETS
        )
        self.queue_time = histogram(
            "vllm:request_queue_time_seconds", "A group's wait, by the worker's clock", TTFT_BUCKETS
        )
        self.latency = histogram(
            "vllm:e2e_request_latency_seconds", "Whole requests", LATENCY_BUCKETS
        )
        self.params_n = histogram(
            "vllm:request_params_n", "Paths that a request asks for", COUNT_BUCKETS
        )
        self.prompt_length = histogram(
            "vllm:request_prompt_tokens", "Prompt tokens of a group", LENGTH_BUCKETS
        )

        self.routed = counter("pollux:routed_requests", "Decisions by route", "route")
        self.plans = counter(
            "pollux:routing_plans", "Decisions by plan and by what a vote counts", "plan", "voting"
        )
        self.limited = counter(
            "pollux:routing_limited", "Decisions that a budget ended, by which", "by"
        )
        self.samples = histogram(
            "pollux:routing_samples_to_decision",
            "Paths that ran to their end",
            COUNT_BUCKETS,
        )
        self.paths = counter("pollux:routing_paths", "Paths of routed questions", "outcome")
        self.consensus = histogram(
            "pollux:routing_consensus", "Lower bound of the leading share", SHARE_BUCKETS
        )
        self.saved_tokens = counter(
            "pollux:routing_tokens_saved", "Estimate: paths not run times the mean path"
        )
        self.refused = counter("pollux:requests_refused", "Requests refused at the door", "reason")
        self.cut = counter(
            "pollux:connections_cut", "Connections refused or cut before their end", "reason"
        )

    def labels(self) -> tuple[str, str]:
        card = self._card()
        return (card.name if card else "", ENGINE)

    def count(self, counter: Counter, amount: float = 1, **labels: str) -> None:
        self._child(counter, labels).inc(amount)

    def observe(self, histogram: Histogram, value: float, times: int = 1) -> None:
        child = self._child(histogram, {})
        for _ in range(times):
            child.observe(value)

    def _child(self, metric: Counter | Histogram, labels: dict[str, str]) -> Any:
        """Kept, since finding it by its labels costs more than all the rest; there are as many as
        a scrape shows."""
        model_name, engine = self.labels()
        key = (metric, model_name, *labels.items())
        child = self._children.get(key)
        if child is None:
            child = metric.labels(model_name=model_name, engine=engine, **labels)
            self._children[key] = child
        return child

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, (*LABELS, *labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(name, text, LABELS, buckets=tuple(buckets), registry=self.registry)


class _Gauges(Collector):
    """The state of workers and of the door, as of the scrape."""

    def __init__(
        self,
        labels: Callable[[], tuple[str, str]],
        status: Callable[[], WorkerStatus],
        admission: Admission,
    ) -> None:
        self._labels = labels
        self._status = status
        self._admission = admission

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        status, admission = self._status(), self._admission
        used = status.pages_used / status.pages_total if status.pages_total else 0.0
        yield self._gauge("vllm:num_requests_running", "Paths that decode", status.running)
        yield self._gauge("vllm:num_requests_waiting", "Paths that wait for a row", status.waiting)
        yield self._gauge("vllm:kv_cache_usage_perc", "Share of KV pages in use, 0 to 1", used)
        info = GaugeMetricFamily(
            "vllm:cache_config_info",
            "Sizes of the KV cache",
            labels=(*LABELS, "block_size", "num_gpu_blocks"),
        )
        info.add_metric((*self._labels(), str(status.page_size), str(status.pages_total)), 1)
        yield info
        yield self._counter("vllm:num_preemptions", "Paths put back to wait", status.preemptions)
        yield self._counter("vllm:mm_cache_queries", "Images read", status.media_queries)
        yield self._counter("vllm:mm_cache_hits", "Images found encoded", status.media_hits)
        yield self._gauge("pollux:requests_in_flight", "Requests let in", admission.requests)
        yield self._gauge("pollux:paths_in_flight", "Their paths", admission.paths)
        yield self._gauge("pollux:worker_groups", "Groups that a worker holds", status.groups)
        yield self._gauge("pollux:holds", "Prompt prefixes that are held", status.holds)
        yield self._gauge("pollux:held_pages", "KV pages that they take", status.held_pages)
        yield self._counter("pollux:engine_steps", "Steps of the engine", status.steps)
        yield self._counter(
            "pollux:engine_compilations_after_warmup",
            "Programs compiled while serving; 0 is right",
            status.compilations_after_warmup,
        )
        state = GaugeMetricFamily(
            "pollux:worker_state", "1 for the state it is in", labels=(*LABELS, "state")
        )
        for name in ("starting", "ready", "draining", "failed", "stopped"):
            state.add_metric((*self._labels(), name), float(name == status.state))
        yield state

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        metric = GaugeMetricFamily(name, text, labels=LABELS)
        metric.add_metric(self._labels(), value)
        return metric

    def _counter(self, name: str, text: str, value: float) -> Metric:
        metric = CounterMetricFamily(name, text, labels=LABELS)
        metric.add_metric(self._labels(), value)
        return metric
