"""Cached contents that are kept, as of the scrape."""

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.caches.store import Caches


class CacheMetrics(Collector):
    def __init__(self, labels: Callable[[], tuple[str, str]], caches: Caches) -> None:
        self._labels = labels
        self._caches = caches

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        caches, names = self._caches, ("model_name", "engine")
        for name, what, value in (
            ("pollux:cached_contents", "Cached contents that are kept", len(caches)),
            ("pollux:cached_contents_held_tokens", "Tokens held for them", caches.held_tokens),
        ):
            gauge = GaugeMetricFamily(name, what, labels=names)
            gauge.add_metric(self._labels(), value)
            yield gauge
