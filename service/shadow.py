"""Shadow polls: of a fraction of routed questions all k paths are run once more, beside traffic.

Early stopping hides how the whole vote would have come out, and drift shows there first. The
caller has had the answer by then and waits for nothing; the shadow is admitted like any request,
and dropped when the server is full or enough shadows wait already.
"""

import asyncio
import contextvars
import logging
import math
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model.contract import WorkerUnavailable
from routing.calibration.drift import ConsensusDrift
from routing.events import RouteEvent, RoutingFailed, Shown
from service.api.routed import RoutedPlan
from service.errors import ApiError
from service.guard.admission import Admission
from service.metrics import LABELS, Metrics

log = logging.getLogger("pollux.shadow")

MAX_WAITING = 16
MAX_RUNNING = 2

Poll = Callable[[RoutedPlan], AsyncGenerator[RouteEvent]]


class Shadows:
    """poll: runs a plan to its end, all k paths. reference_invalid: the calibration's share of
    paths without an answer. On the event loop's thread only."""

    def __init__(
        self,
        fraction: float,
        drift: ConsensusDrift,
        reference_invalid: float,
        poll: Poll,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._fraction = fraction
        self._poll = poll
        self._admission = admission
        self._metrics = metrics
        self._gauges = _DriftGauges(metrics.labels, drift, reference_invalid)
        metrics.registry.register(self._gauges)
        self._polls = Counter(
            "pollux:routing_shadow_polls",
            "Full polls beside the traffic, by what became of them",
            (*LABELS, "result"),
            registry=metrics.registry,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_RUNNING)

    def offer(self, plan: RoutedPlan) -> None:
        """A routed question that the calibration covers has been answered."""
        if random.random() >= self._fraction:  # noqa: S311 (a sample, not a secret)
            return
        if len(self._tasks) >= MAX_WAITING:
            self._metrics.count(self._polls, result="dropped")
            return
        # Without the request's context: no caller's key pays for it.
        task = asyncio.create_task(self._run(plan), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, plan: RoutedPlan) -> None:
        result = "failed"
        try:
            async with self._slots, asyncio.timeout(plan.timeout):
                with self._admission.admit(plan.paths, None):
                    await self._observe(plan)
            result = "run"
        except ApiError as error:
            result = "dropped" if error.kind == "overloaded" else "failed"
        except (RoutingFailed, WorkerUnavailable, TimeoutError) as error:
            log.info("a shadow poll failed: %s", error)
        except asyncio.CancelledError:
            result = "dropped"
            raise
        finally:
            self._metrics.count(self._polls, result=result)

    async def _observe(self, plan: RoutedPlan) -> None:
        async with aclosing(self._poll(plan)) as events:
            async for event in events:
                if isinstance(event, Shown):
                    decision = event.decision
                    leading = max(decision.votes.values(), default=0)
                    self._gauges.observe(leading, decision.samples.invalid)


class _DriftGauges(Collector):
    """What the shadows saw, beside what the calibration saw, as of the scrape."""

    def __init__(
        self,
        labels: Callable[[], tuple[str, str]],
        drift: ConsensusDrift,
        reference_invalid: float,
    ) -> None:
        self._labels = labels
        self._drift = drift
        self._reference_invalid = reference_invalid
        self._polls = 0
        self._invalid = 0

    def observe(self, leading: int, invalid: int) -> None:
        self._drift.observe(leading)
        self._polls += 1
        self._invalid += invalid

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        drift = self._drift
        yield self._gauge(
            "pollux:routing_drift_polls", "Shadow polls in the window", drift.observed
        )
        # Not a number says that there is nothing to say yet; no comparison with it is true.
        statistic = drift.statistic
        yield self._gauge(
            "pollux:routing_drift",
            "Largest difference of the consensus distribution from the calibration's, 0 to 1",
            math.nan if statistic is None else statistic,
        )
        yield self._gauge(
            "pollux:routing_drift_limit",
            "What the drift exceeds in 1 % of windows when nothing has changed",
            drift.limit,
        )
        yield self._gauge(
            "pollux:routing_calibration_invalid",
            "Share of paths without an answer in the calibration",
            self._reference_invalid,
        )
        yield self._gauge(
            "pollux:routing_shadow_invalid",
            "Share of paths without an answer in shadow polls",
            self._invalid / (self._polls * drift.k) if self._polls else math.nan,
        )

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        metric = GaugeMetricFamily(name, text, labels=LABELS)
        metric.add_metric(self._labels(), value)
        return metric
