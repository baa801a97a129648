"""Which positions the next step computes. Plain Python; knows pages and order, not arrays.

A step takes one token of every running path and, beside them, chunks of prompts: fewer prompt
tokens while paths run, so that a long prompt slows running streams instead of stopping them. Where
the device has no step for both, steps of either kind take turns.

When pages run out, the youngest path or trunk gives its pages back and is computed again later
(its tokens are kept; `age` says who is younger). Only prefixes that are held give nothing back once
they are complete. The oldest can thus always finish: nothing deadlocks as long as one full context
fits beside all that is held, which `holding` sees to before it lets a hold in.

A step may be planned while the one before still runs. Its tokens are then not known here: the plan
says which row they come from, and nothing that must know them is planned.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.engine.age import BEFORE_IDLE, Age, age, youngest
from model.engine.embeddings import Embeddings
from model.engine.images import found_whole, unsplit
from model.engine.pages import BlockTables, OutOfPages, PagedMemory
from model.engine.plan import Chunk, Output, StepPlan
from model.engine.sequences import GroupState, Path, Sequence, Stage, Trunk
from model.nn.blocks import in_blocks

_UNKNOWN = 0
"""Stands for a token that the device has and the host has not."""


@dataclass(frozen=True)
class Limits:
    """What fits a step.

    rows: paths that decode together. chunk: prompt tokens of a step. busy_chunk: prompt tokens of
    a step in which paths decode too, or twice as many as these if that is more; 0 where there is
    no such step. prompts: sequences that they may be of. score_chunk: prompt tokens of a step that
    scores them all. pooled_prompts: sequences of a step that sums up hidden states.
    """

    rows: int
    chunk: int
    busy_chunk: int
    prompts: int
    score_chunk: int
    pooled_prompts: int = 8


class Scheduler:
    """Owns the groups from submission to their end, and the pages they hold."""

    def __init__(self, memory: PagedMemory, limits: Limits) -> None:
        self.memory = memory
        self.limits = limits
        self.max_rows = limits.rows
        self.groups: dict[str, GroupState] = {}
        self.preemptions = 0
        self._starts = 0
        self._prefilled_last = False
        self._pooled_last = False
        self._embeddings = Embeddings(
            limits.chunk, limits.busy_chunk, limits.pooled_prompts, self._grow, self._fits
        )

    # --- what the engine tells it ------------------------------------------------------------

    def add(self, group: GroupState) -> None:
        assert group.id not in self.groups
        self.groups[group.id] = group

    def finish_path(self, path: Path) -> None:
        self._release(path)
        path.stage = Stage.FINISHED

    def remove(self, group: GroupState) -> None:
        for path in group.paths.values():
            self.finish_path(path)
        self._release(group.trunk)
        group.trunk.stage = Stage.FINISHED
        del self.groups[group.id]

    @property
    def running(self) -> list[Path]:
        return [path for group in self.groups.values() for path in group.running]

    @property
    def waiting_count(self) -> int:
        return sum(
            len(group.waiting)
            + (group.embedding is not None and group.trunk.stage is Stage.WAITING)
            for group in self.groups.values()
        )

    # --- planning ----------------------------------------------------------------------------

    def plan(self) -> StepPlan | None:
        """The next step, with the pages it needs; None when nothing can run now."""
        plan = self._next()
        for _ in range(self.max_rows):
            if plan is not None or not self.running or self._waits_for_results:
                break
            # Rows wait for pages that older groups hold, and those wait for rows.
            self._preempt(max(self.running, key=lambda path: age(path, path.group)))
            plan = self._next()
        self._pooled_last = plan is not None and plan.pooled
        if plan is not None and not plan.pooled:
            self._prefilled_last = not plan.rows
        return plan

    def _next(self) -> StepPlan | None:
        """Steps that sum up hidden states take turns with all others."""
        if self._pooled_last:
            return self._planned() or self._pooled_step()
        return self._pooled_step() or self._planned()

    def _pooled_step(self) -> StepPlan | None:
        chunks = self._embeddings.chunks(list(self.groups.values()), len(self.running))
        return StepPlan([], chunks, [], self.memory.take_copies(), pooled=True) if chunks else None

    def _planned(self) -> StepPlan | None:
        self._start_trunks()
        self._start_paths()
        scored = self._scored_next()
        if self.limits.busy_chunk > 0 and scored is None:
            rows = self._rows()
            return self._step(rows, self._chunks(rows))
        if self._prefilled_last:
            return self._step(self._rows(), []) or self._prompt_step(scored)
        return self._prompt_step(scored) or self._step(self._rows(), [])

    def _prompt_step(self, scored: GroupState | None) -> StepPlan | None:
        return self._step([], self._chunks([])) if scored is None else self._score_step(scored)

    def _step(self, rows: list[Chunk], chunks: list[Chunk]) -> StepPlan | None:
        # A later one may have taken the pages of an earlier one.
        rows = [row for row in rows if row.sequence.stage is Stage.RUNNING]
        chunks = [chunk for chunk in chunks if chunk.sequence.stage is Stage.RUNNING]
        if not rows and not chunks:
            return None
        outputs = [
            Output(row, 0, path=row.sequence) for row in rows if isinstance(row.sequence, Path)
        ]
        return StepPlan(rows, chunks, outputs, self.memory.take_copies())

    @property
    def _waits_for_results(self) -> bool:
        return any(path.unknown for group in self.groups.values() for path in group.paths.values())

    def commit(self, plan: StepPlan) -> None:
        """The step is on its way: its positions count as written, its tokens as unknown."""
        for row, output in enumerate(plan.outputs):
            if output.path is not None:
                output.path.row = row
                output.path.unknown += 1
                output.path.tokens.append(_UNKNOWN)
        for chunk in plan.everything:
            sequence = chunk.sequence
            sequence.computed = chunk.start + chunk.count
            # What the next query does not see can go, but is named first, so that it may be found.
            if not plan.pooled:
                self._publish(sequence)
            self.memory.slide(sequence.tables, sequence.settled)

    def learn(self, output: Output, token: int) -> None:
        """The result of a committed step's output: the path's token is known now."""
        path = output.path
        assert path is not None
        path.tokens[output.position] = token
        path.unknown -= 1
        if path.stage is Stage.RUNNING:
            self._publish(path)

    def redirect(self, output: Output, tokens: list[int] | tuple[int, ...]) -> None:
        """As `learn`, but these tokens stand there, and all that was sampled ahead is void.

        What was computed at that place counts no more: other tokens may stand there, and the last
        of them is computed once more for its logits."""
        path = output.path
        assert path is not None
        path.tokens[output.position :] = tokens
        path.void += path.unknown - 1
        path.unknown = 0
        path.computed = min(path.computed, output.position)
        if path.stage is Stage.RUNNING:
            self._publish(path)

    def _publish(self, sequence: Sequence) -> None:
        known = min(sequence.computed, len(sequence.tokens) - sequence.unknown)
        full = known // self.memory.page_size
        if full > sequence.published:
            keys = sequence.page_keys(full, self.memory.page_size)
            self.memory.publish(sequence.tables, keys, sequence.published)
            sequence.published = full

    def _find(self, sequence: Sequence) -> list[bytes]:
        """Keys of the pages that the sequence can begin with. Its last token is always computed,
        for its logits, and an image that they would end in is computed whole."""
        size = self.memory.page_size
        keys = sequence.page_keys((len(sequence.tokens) - 1) // size, size)
        return keys[: found_whole(self.memory, sequence.images, keys)]

    def _start_paths(self) -> None:
        """Paths of ready trunks join the batch, those of the group with fewest running first."""
        rows = self.max_rows - len(self.running)
        while rows > 0:
            candidates = [g for g in self.groups.values() if g.trunk.ready and g.startable]
            if not candidates:
                return
            group = min(candidates, key=lambda g: (len(g.running), g.arrival))
            if not self._start(group.startable[0]):
                return
            rows -= 1

    def _start(self, path: Path) -> bool:
        trunk = path.group.trunk
        length = trunk.computed
        # What a path had computed before it was preempted, or another with the same suffix, may
        # still be there.
        found = self._find(path) if len(path.tokens) > len(trunk.tokens) else []
        if len(found) * self.memory.page_size > length:
            path.tables = self.memory.attach(found)
            length = len(found) * self.memory.page_size
            path.published = len(found)
            if path.group.alone:
                self._release(trunk)
                trunk.stage = Stage.WAITING
        elif path.group.alone:
            path.tables, trunk.tables = trunk.tables, path.tables
            path.keys, path.published = trunk.keys[: trunk.published], trunk.published
            trunk.stage, trunk.computed, trunk.published = Stage.WAITING, 0, 0
        elif self._fork(path, length):
            path.published = trunk.published
            path.keys = trunk.keys[: trunk.published]
        else:
            return False
        path.computed = length
        path.stage = Stage.RUNNING
        self._starts += 1
        path.started = self._starts
        return True

    def _fork(self, path: Path, length: int) -> bool:
        """Takes pages from idle prompts; from younger work only when nothing runs, since what runs
        gives pages back in time."""
        trunk = path.group.trunk
        older = BEFORE_IDLE if self.running else age(trunk, path.group)

        def fork() -> None:
            path.tables = self.memory.fork(trunk.tables, length)

        return self._take(fork, older)

    def _start_trunks(self) -> None:
        """Prompts are prefilled in order of arrival, as far ahead as rows are free for paths.

        One is prefilled even when every row is taken, so that it gets the next free one."""
        active = [g for g in self.groups.values() if g.trunk.stage is Stage.RUNNING]
        ahead = sum(1 for g in active if not g.running and (g.waiting or g.to_hold))
        room = max(1, self.max_rows - len(self.running)) - ahead
        for group in self.groups.values():
            if room <= 0:
                return
            trunk = group.trunk
            if trunk.stage is not Stage.WAITING or not (group.waiting or group.to_hold):
                continue
            busy = len(self.running) > 0 or ahead > 0
            if busy and not self._fits(len(trunk.tokens)):
                return
            trunk.stage = Stage.RUNNING
            self._reuse(group)
            ahead += 1
            room -= 1

    def _reuse(self, group: GroupState) -> None:
        """Begins a prompt with pages that are there already. Scores need every position."""
        trunk = group.trunk
        if group.unscored:
            return
        found = self._find(trunk)
        trunk.tables = self.memory.attach(found, trunk.spare_pages)
        trunk.published = len(found)
        trunk.computed = len(found) * self.memory.page_size
        if not group.announced:
            trunk.cached = trunk.computed

    def _fits(self, prompt_length: int) -> bool:
        """Room for the prompt and a first token, beside one more page for every running path."""
        reserve = len(self.running)
        for window, pool in zip(self.memory.windows, self.memory.pools, strict=True):
            seen = prompt_length + 1
            if window is not None:
                seen = min(seen, window + self.limits.chunk)
            if pool.free < self.memory.pages_for(seen) + 1 + reserve:
                return False
        return True

    def _chunks(self, rows: list[Chunk]) -> list[Chunk]:
        """Prompt tokens to go with these rows: everything but a sequence's last position. That one
        is a decode row, whose logits give the next token, so a path's tokens do not depend on how
        it came to be where it is."""
        budget = self.limits.chunk
        if rows:
            # Beside many rows more prompt tokens add the same share to a step.
            budget = min(budget, max(self.limits.busy_chunk, 2 * len(rows)))
        chunks: list[Chunk] = []
        for sequence, group in self._unread():
            most = budget if chunks else self.limits.chunk  # An image may take a whole step.
            count = min(sequence.pending - 1, budget)
            count = unsplit(sequence.images, sequence.computed, count, most)
            if count < 1 or len(chunks) == self.limits.prompts:
                break
            # An earlier prompt may have taken this one's pages.
            if sequence.stage is not Stage.RUNNING or self._scores_prompt(sequence, group):
                continue
            if self._grow(sequence, group, sequence.computed + count):
                chunks.append(Chunk(sequence, sequence.computed, count))
                budget -= in_blocks(count)
        return chunks

    def _scored_next(self) -> GroupState | None:
        """The group whose prompt is the next to be read, if every token of it is to be scored."""
        sequence, group = next(self._unread(), (None, None))
        if sequence is None or group is None or not self._scores_prompt(sequence, group):
            return None
        return group

    def _score_step(self, group: GroupState) -> StepPlan | None:
        trunk = group.trunk
        count = min(trunk.pending - 1, self.limits.score_chunk)
        if not self._grow(trunk, group, trunk.computed + count):
            return None
        chunk = Chunk(trunk, trunk.computed, count)
        return StepPlan([], [chunk], self._scores(chunk, trunk), self.memory.take_copies())

    @staticmethod
    def _scores_prompt(sequence: Sequence, group: GroupState) -> bool:
        return sequence is group.trunk and group.unscored

    def _unread(self) -> Iterator[tuple[Sequence, GroupState]]:
        """Sequences with more than their last token to read, in order."""
        for group in list(self.groups.values()):
            if group.embedding is not None:
                continue
            for sequence in (group.trunk, *group.paths.values()):
                if sequence.stage is Stage.RUNNING and sequence.pending > 1:
                    yield sequence, group

    @staticmethod
    def _scores(chunk: Chunk, trunk: Trunk) -> list[Output]:
        """The next prompt token at each position, but for those a preempted trunk had scored."""
        return [
            Output(chunk, offset, trunk=trunk, target=trunk.tokens[chunk.start + offset + 1])
            for offset in range(chunk.count)
            if chunk.start + offset >= len(trunk.scores)
        ]

    def _rows(self) -> list[Chunk]:
        # Oldest first: whoever must give pages up for a row is not in the step yet.
        ready = sorted(
            (path for path in self.running if path.can_sample),
            key=lambda path: age(path, path.group),
        )
        rows: list[Chunk] = []
        for path in ready:
            # An earlier row may have taken this one's pages.
            if path.stage is not Stage.RUNNING:
                continue
            if self._grow(path, path.group, path.computed + 1):
                rows.append(Chunk(path, path.computed, 1, path.row if path.unknown else -1))
        return rows

    # --- pages -------------------------------------------------------------------------------

    def _grow(self, sequence: Sequence, group: GroupState, length: int) -> bool:
        """Pages up to `length`, taken from younger sequences if need be."""
        return self._take(lambda: self.memory.grow(sequence.tables, length), age(sequence, group))

    def _take(self, pages: Callable[[], None], than: Age) -> bool:
        """Takes pages, preempting sequences younger than `than`, the youngest first, until there
        are enough. False when there is none left to preempt."""
        while True:
            try:
                pages()
                return True
            except OutOfPages:
                victim = youngest(self.groups.values(), than)
                if victim is None:
                    return False
                self._preempt(victim)

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.stage = Stage.WAITING
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.memory.release(sequence.tables)
        sequence.computed = sequence.published = 0

    def empty_tables(self) -> BlockTables:
        return BlockTables.empty(len(self.memory.pools))
