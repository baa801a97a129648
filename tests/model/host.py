"""A worker on its thread, and what it said."""

import queue
from collections.abc import Sequence
from pathlib import Path

from model.checkpoints import open_checkpoint
from model.contract import Event, Group, GroupClosed, GroupFailed, PathOutput, Submit
from model.engine.config import EngineConfig
from model.worker import EngineThread

TINY = EngineConfig(
    dtype="float32", max_rows=4, page_size=8, prefill_chunk=16, kv_bytes=2**24, context=96
)


class Host:
    """A started worker and what it said."""

    def __init__(self, path: Path, config: EngineConfig = TINY) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.worker = EngineThread(
            open_checkpoint(path), "tiny", config, lambda events: [*map(self.events.put, events)]
        )

    def until_end(self, group_id: str) -> list[Event]:
        seen = []
        while True:
            event = self.events.get(timeout=60)
            seen.append(event)
            if isinstance(event, GroupClosed | GroupFailed) and event.group_id == group_id:
                return seen

    def tokens(self, groups: Sequence[Group]) -> dict[tuple[str, int], list[int]]:
        """Runs groups together; the tokens of every path by group and index."""
        for group in groups:
            self.worker.send(Submit(group=group))
        found: dict[tuple[str, int], list[int]] = {}
        running = {group.id for group in groups}
        while running:
            event = self.events.get(timeout=120)
            if isinstance(event, PathOutput):
                found.setdefault((event.group_id, event.path), []).extend(event.tokens)
            elif isinstance(event, GroupClosed):
                running.remove(event.group_id)
            else:
                assert not isinstance(event, GroupFailed), event.message
        return found
