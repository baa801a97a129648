"""Which positions the next step computes. Plain Python; knows pages and order, not arrays.

Two kinds of step alternate while there is work of both: a chunk of one prompt (prefill) and one
token of every running path (decode), so that a long prompt delays running streams by a chunk.

When pages run out, the youngest path or trunk gives its pages back and is computed again later
(its tokens are kept). Order of age: groups by arrival, in a group the trunk, then its paths by
start. The oldest can thus always finish: nothing deadlocks as long as one full context fits.
"""

from collections.abc import Callable, Iterator

from model.engine.pages import BlockTables, OutOfPages, PagedMemory
from model.engine.plan import Chunk, Output, StepPlan
from model.engine.sequences import GroupState, Path, Sequence, Stage, Trunk

_IDLE = float("inf")
"""The arrival, in terms of age, of a group that runs nothing."""
_BEFORE_IDLE = (_IDLE, -1)


class Scheduler:
    """Owns the groups from submission to their end, and the pages they hold.

    max_rows: paths that decode together. prefill_chunk: most tokens of one prefill step.
    score_chunk: the same where every position's logits are wanted.
    """

    def __init__(
        self, memory: PagedMemory, max_rows: int, prefill_chunk: int, score_chunk: int
    ) -> None:
        self.memory = memory
        self.max_rows = max_rows
        self.prefill_chunk = prefill_chunk
        self.score_chunk = score_chunk
        self.groups: dict[str, GroupState] = {}
        self.preemptions = 0
        self._starts = 0
        self._prefilled_last = False

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
        return sum(len(group.waiting) for group in self.groups.values())

    # --- planning ----------------------------------------------------------------------------

    def plan(self) -> StepPlan | None:
        """The next step, with the pages it needs; None when nothing can run."""
        plan = self._planned()
        for _ in range(self.max_rows):
            if plan is not None or not self.running:
                break
            # Rows wait for pages that older groups hold, and those wait for rows.
            self._preempt(max(self.running, key=lambda path: _age(path, path.group)))
            plan = self._planned()
        if plan is not None:
            self._prefilled_last = not plan.decode
        return plan

    def _planned(self) -> StepPlan | None:
        self._start_trunks()
        self._start_paths()
        if self._prefilled_last:
            return self._decode() or self._prefill()
        return self._prefill() or self._decode()

    def commit(self, plan: StepPlan) -> None:
        """The step ran: its positions are written. Call before tokens are appended."""
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if sequence.stage is not Stage.RUNNING:
                continue
            sequence.computed = chunk.start + chunk.count
            self.memory.slide(sequence.tables, sequence.computed)

    def _start_paths(self) -> None:
        """Paths of ready trunks join the batch, those of the group with fewest running first."""
        rows = self.max_rows - len(self.running)
        while rows > 0:
            candidates = [g for g in self.groups.values() if g.trunk.ready and g.waiting]
            if not candidates:
                return
            group = min(candidates, key=lambda g: (len(g.running), g.arrival))
            if not self._start(group.waiting[0]):
                return
            rows -= 1

    def _start(self, path: Path) -> bool:
        trunk = path.group.trunk
        length = trunk.computed
        if path.group.alone:
            path.tables, trunk.tables = trunk.tables, path.tables
            trunk.stage, trunk.computed = Stage.WAITING, 0
        elif not self._fork(path, length):
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
        older = _BEFORE_IDLE if self.running else _age(trunk, path.group)

        def fork() -> None:
            path.tables = self.memory.fork(trunk.tables, length)

        return self._take(fork, older)

    def _start_trunks(self) -> None:
        """Prompts are prefilled in order of arrival, as far ahead as rows are free for paths.

        One is prefilled even when every row is taken, so that it gets the next free one."""
        active = [g for g in self.groups.values() if g.trunk.stage is Stage.RUNNING]
        ahead = sum(1 for g in active if not g.running and g.waiting)
        room = max(1, self.max_rows - len(self.running)) - ahead
        for group in self.groups.values():
            if room <= 0:
                return
            trunk = group.trunk
            if trunk.stage is not Stage.WAITING or not group.waiting:
                continue
            busy = len(self.running) > 0 or ahead > 0
            if busy and not self._fits(len(trunk.tokens)):
                return
            trunk.stage = Stage.RUNNING
            ahead += 1
            room -= 1

    def _fits(self, prompt_length: int) -> bool:
        """Room for the prompt and a first token, beside one more page for every running path."""
        reserve = len(self.running)
        for window, pool in zip(self.memory.windows, self.memory.pools, strict=True):
            seen = prompt_length + 1
            if window is not None:
                seen = min(seen, window + self.prefill_chunk)
            if pool.free < self.memory.pages_for(seen) + 1 + reserve:
                return False
        return True

    def _prefill(self) -> StepPlan | None:
        """Everything but a sequence's last position: that one is a decode row, whose logits give
        the next token. So a path's tokens do not depend on how it came to be where it is."""
        for sequence, group in self._prefill_candidates():
            score = isinstance(sequence, Trunk) and group.group.prompt_logprobs is not None
            limit = self.score_chunk if score else self.prefill_chunk
            count = min(sequence.pending - 1, limit)
            if not self._grow(sequence, group, sequence.computed + count):
                continue
            chunk = Chunk(sequence, sequence.computed, count)
            outputs = self._scores(chunk, group.trunk) if score else []
            return StepPlan([chunk], outputs, self.memory.take_copies())
        return None

    def _prefill_candidates(self) -> Iterator[tuple[Sequence, GroupState]]:
        for group in list(self.groups.values()):
            for sequence in (group.trunk, *group.paths.values()):
                if sequence.stage is Stage.RUNNING and sequence.pending > 1:
                    yield sequence, group

    @staticmethod
    def _scores(chunk: Chunk, trunk: Trunk) -> list[Output]:
        """The next prompt token at each position, but for those a preempted trunk had scored."""
        return [
            Output(0, offset, trunk=trunk, target=trunk.tokens[chunk.start + offset + 1])
            for offset in range(chunk.count)
            if chunk.start + offset >= len(trunk.scores)
        ]

    def _decode(self) -> StepPlan | None:
        # Oldest first: whoever must give pages up for a row is not in the step yet.
        ready = sorted(
            (path for path in self.running if path.pending == 1),
            key=lambda path: _age(path, path.group),
        )
        chunks: list[Chunk] = []
        outputs: list[Output] = []
        for path in ready:
            # An earlier row may have taken this one's pages.
            if path.stage is not Stage.RUNNING:
                continue
            if not self._grow(path, path.group, path.computed + 1):
                continue
            outputs.append(Output(len(chunks), 0, path=path))
            chunks.append(Chunk(path, path.computed, 1))
        if not chunks:
            return None
        return StepPlan(chunks, outputs, self.memory.take_copies(), decode=True)

    # --- pages -------------------------------------------------------------------------------

    def _grow(self, sequence: Sequence, group: GroupState, length: int) -> bool:
        """Pages up to `length`, taken from younger sequences if need be."""
        return self._take(lambda: self.memory.grow(sequence.tables, length), _age(sequence, group))

    def _take(self, pages: Callable[[], None], age: tuple[float, int]) -> bool:
        """Takes pages, preempting sequences younger than `age`, the youngest first, until there
        are enough. False when there is none left to preempt."""
        while True:
            try:
                pages()
                return True
            except OutOfPages:
                victim = self._youngest(age)
                if victim is None:
                    return False
                self._preempt(victim)

    def _youngest(self, than: tuple[float, int]) -> Sequence | None:
        """The youngest sequence with pages that is younger than the asking one."""
        candidates = [
            (_age(sequence, group), sequence)
            for group in self.groups.values()
            for sequence in (group.trunk, *group.paths.values())
            if any(sequence.tables.tables)
        ]
        age, victim = max(candidates, key=lambda item: item[0], default=((-1.0, -1), None))
        return victim if age > than else None

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.stage = Stage.WAITING
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.memory.release(sequence.tables)
        sequence.computed = 0

    def empty_tables(self) -> BlockTables:
        return BlockTables.empty(len(self.memory.pools))


def _age(sequence: Sequence, group: GroupState) -> tuple[float, int]:
    """Larger is younger. The trunk of a group that runs nothing now gives way to everybody."""
    if isinstance(sequence, Path):
        return group.arrival, sequence.started
    idle = not group.running and not group.waiting
    return (_IDLE if idle else group.arrival), 0
