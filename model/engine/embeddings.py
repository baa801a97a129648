"""Which prompts the next pooled step reads. Plain Python; the scheduler owns groups and pages.

An embedding's prompt is computed whole, its last token included, and from its first token on: the
sum needs every position, so it takes no pages of the prefix cache, and it leaves none there, where
a corpus would push out what conversations come back to. Pooled steps and others take turns.
"""

from collections.abc import Callable, Collection

from model.engine.plan import Chunk
from model.engine.sequences import GroupState, Sequence, Stage
from model.nn.blocks import in_blocks


class Embeddings:
    """chunk, busy_chunk, prompts: see `scheduler.Limits`. grow: gives a sequence of a group pages
    up to a length, or says that there are none. fits: whether a prompt of that length has room
    beside what runs."""

    def __init__(
        self,
        chunk: int,
        busy_chunk: int,
        prompts: int,
        grow: Callable[[Sequence, GroupState, int], bool],
        fits: Callable[[int], bool],
    ) -> None:
        self._chunk, self._busy_chunk, self._prompts = chunk, busy_chunk, prompts
        self._grow, self._fits = grow, fits

    def chunks(self, groups: Collection[GroupState], rows: int) -> list[Chunk]:
        """Of as many prompts as fit a step, in order. groups: all, oldest first. rows: how many
        of their paths decode, which a large chunk would hold up."""
        unread = [group for group in groups if group.embedding is not None and group.trunk.pending]
        if not unread:
            return []
        # What runs will give its pages back in time.
        busy = rows > 0 or any(g.trunk.stage is Stage.RUNNING and not g.idle for g in groups)
        budget = in_blocks(self._budget(rows))
        chunks: list[Chunk] = []
        blocked = False
        for group in unread:
            trunk = group.trunk
            if budget == 0 or len(chunks) == self._prompts:
                break
            if trunk.stage is Stage.WAITING:
                # Behind one that must wait nobody starts, but who has started goes on.
                blocked = blocked or (busy and not self._fits(len(trunk.tokens)))
                if blocked:
                    continue
                trunk.stage = Stage.RUNNING
            busy = True
            count = min(trunk.pending, budget)
            if self._grow(trunk, group, trunk.computed + count):
                chunks.append(Chunk(trunk, trunk.computed, count))
                budget -= in_blocks(count)
            else:
                blocked = True
        return chunks

    def _budget(self, rows: int) -> int:
        """Prompt tokens beside so many rows: as few as prompts of answers get."""
        if not rows or not self._busy_chunk:
            return self._chunk
        return min(self._chunk, max(self._busy_chunk, 2 * rows))
