"""Files that are kept, as of the scrape."""

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.files.store import FileStore


class FileMetrics(Collector):
    def __init__(self, labels: Callable[[], tuple[str, str]], store: FileStore) -> None:
        self._labels = labels
        self._store = store

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        store, names = self._store, ("model_name", "engine")
        for name, what, value in (
            ("pollux:files", "Uploaded files that are kept", len(store)),
            ("pollux:files_bytes", "Their bytes", store.stored_bytes),
            ("pollux:file_uploads", "Uploads in progress", len(store.uploads)),
        ):
            gauge = GaugeMetricFamily(name, what, labels=names)
            gauge.add_metric(self._labels(), value)
            yield gauge
