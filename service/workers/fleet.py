"""The workers that a gateway sees on the broker, as one. Pure bookkeeping."""

import time
from collections.abc import Iterable

from model.contract import ModelCard, WorkerState, WorkerStatus
from model.wire import WorkerRecord

COUNTERS = (
    "steps",
    "prefill_tokens",
    "decode_tokens",
    "preemptions",
    "compilations_after_warmup",
    "media_queries",
    "media_hits",
)


class Fleet:
    def __init__(self) -> None:
        self._workers: dict[str, WorkerRecord] = {}
        self._seen: dict[str, float] = {}
        self._totals = dict.fromkeys(COUNTERS, 0)
        self._no_taker_since: float | None = time.monotonic()

    def see(self, records: Iterable[WorkerRecord]) -> None:
        """Notes who has a lease now."""
        now = time.monotonic()
        present = {record.id: record for record in records}
        for worker_id, record in present.items():
            before = self._workers.get(worker_id)
            for name in COUNTERS:
                earlier = 0 if before is None else getattr(before.status, name)
                # Counters of the pool only grow, also when a worker leaves.
                self._totals[name] += max(0, getattr(record.status, name) - earlier)
            self._seen[worker_id] = now
        self._workers = present
        if any(record.status.state in ("ready", "starting") for record in present.values()):
            self._no_taker_since = None
        elif self._no_taker_since is None:
            self._no_taker_since = now

    def alive(self, since: float, absence_s: float) -> set[str]:
        """Workers with a lease, or whose lease is missing for less than `absence_s`.

        since: monotonic time before which none could be seen.
        """
        now = time.monotonic()
        self._seen = {
            worker: at
            for worker, at in self._seen.items()
            if worker in self._workers or now - max(at, since) <= absence_s
        }
        return set(self._seen)

    @property
    def no_taker_s(self) -> float:
        """For how long no worker has been there that takes work, or soon will."""
        return 0.0 if self._no_taker_since is None else time.monotonic() - self._no_taker_since

    @property
    def is_ready(self) -> bool:
        return any(worker.status.state == "ready" for worker in self._workers.values())

    @property
    def card(self) -> ModelCard | None:
        """What the longest-running worker says. They agree: see `model.wire.identity_of`."""
        for worker in self._workers.values():
            return worker.card
        return None

    @property
    def problem(self) -> str:
        """Why nothing is ready, in a few words for a person."""
        if not self._workers:
            return "no worker has registered yet" if not self._seen else "all workers are gone"
        texts = []
        for worker in self._workers.values():
            status = worker.status
            progress = "" if status.progress is None else f" {status.progress:.0%}"
            texts.append(f"{worker.host or worker.id}: {status.detail or status.state}{progress}")
        return "; ".join(sorted(set(texts))[:3])

    def status(self, waiting: int) -> WorkerStatus:
        """waiting: sequences that no worker has taken yet, of all gateways."""
        all_ = [worker.status for worker in self._workers.values()]
        return WorkerStatus(
            state=self._state(),
            detail="" if self.is_ready else self.problem,
            progress=max((s.progress for s in all_ if s.progress is not None), default=None),
            waiting=waiting + sum(s.waiting for s in all_),
            running=sum(s.running for s in all_),
            groups=sum(s.groups for s in all_),
            pages_used=sum(s.pages_used for s in all_),
            pages_total=sum(s.pages_total for s in all_),
            holds=sum(s.holds for s in all_),
            held_pages=sum(s.held_pages for s in all_),
            page_size=max((s.page_size for s in all_), default=0),
            max_rows=sum(s.max_rows for s in all_),
            **self._totals,
        )

    def _state(self) -> WorkerState:
        """Never "failed": the pool is not, however its workers fare; others may come."""
        states = {worker.status.state for worker in self._workers.values()}
        if "ready" in states:
            return "ready"
        return "draining" if states == {"draining"} else "starting"
