"""Groups in, events out: the scheduler's plans run on the device, tokens become text.

Single-threaded: `model.worker` owns one on its own thread. The runner is given, so everything
here runs in tests without a device.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

import numpy as np

from model.contract import (
    Abort,
    Command,
    Event,
    Extend,
    Finish,
    Group,
    GroupClosed,
    GroupFailed,
    InvalidParameter,
    PathOutput,
    PathRequest,
    PromptEmbedded,
    Submit,
    TokenLogprob,
)
from model.engine import telling
from model.engine.advance import advanced, place
from model.engine.constraints import AnyGrammar, Constraints, TooManyGrammars
from model.engine.guide import Guide
from model.engine.hidden import HiddenSum
from model.engine.holding import CannotHold, HeldPages, trunk_of
from model.engine.plan import RowResult, Runner, StepPlan
from model.engine.scheduler import Scheduler
from model.engine.sequences import Compiled, GroupState, Path, Stage, Trunk
from model.engine.settling import CannotGuide, begun, guide_paths
from model.engine.stops import OutputText
from model.engine.validate import check_group, check_paths
from model.spec import VisionSpec
from model.text.language import TextModel

_SETTLING_S = 0.005
"""How long an idle step waits for a grammar: commands that come meanwhile wait as long."""


class Engine:
    """Drives groups to their end.

    context: most tokens of a prompt with its answer. queue: most sequences waiting or running.
    constraints: compiles those of paths; built when the first path has one, if None. held: what
    prefixes that are held may take; None lets none in. vision: what encodes images, if anything.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        text: TextModel,
        vocab_size: int,
        context: int,
        queue: int = 4096,
        clock: Callable[[], float] = time.monotonic,
        constraints: Constraints | None = None,
        held: HeldPages | None = None,
        vision: VisionSpec | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.context = context
        self.steps = 0
        self.prefill_tokens = 0
        self.decode_tokens = 0
        self._runner = runner
        self._text = text
        self._vocab_size = vocab_size
        self._vision = vision
        self._queue = queue
        self._constraints = constraints or Constraints.of(text, vocab_size)
        nothing = [0] * len(scheduler.memory.pools)
        self.held = HeldPages(scheduler.memory, nothing) if held is None else held
        self.clock = clock
        self._arrivals = 0
        self._events: list[Event] = []
        self._in_flight: Callable[[], None] | None = None

    @property
    def has_work(self) -> bool:
        return self._in_flight is not None or any(
            not group.idle for group in self.scheduler.groups.values()
        )

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # --- commands ----------------------------------------------------------------------------

    def handle(self, command: Command) -> None:
        """Never raises for what a caller sent: the answer to a bad command is an event."""
        match command:
            case Submit(group=group):
                self._submit(group)
            case Extend(group_id=group_id, paths=paths):
                self._extend(group_id, paths)
            case Abort(group_id=group_id, paths=paths):
                self._abort(group_id, paths)

    def _submit(self, group: Group) -> None:
        try:
            if group.id in self.scheduler.groups:
                raise InvalidParameter("id", "a group with this id is running")
            check_group(group, self.context, self._vocab_size, self._vision)
        except InvalidParameter as error:
            self._fail(group.id, "invalid", str(error), error.param)
            return
        try:
            compiled: Compiled = {}
            grammars = self._reserve(group.paths, compiled)
            trunk = trunk_of(group, self.scheduler.memory)
            if group.hold:
                self.held.admit(group.id, trunk)
        except (_Full, CannotHold) as full:
            self._fail(group.id, "capacity", str(full))
            return
        now = self.clock()
        self._arrivals += 1
        state = GroupState(
            group=group,
            trunk=trunk,
            arrival=self._arrivals,
            submitted_at=now,
            deadline=None if group.deadline_s is None else now + group.deadline_s,
            open=group.open,
            compiled=compiled,
            embedding=HiddenSum() if group.embed else None,
        )
        self.scheduler.add(state)
        # A prompt of one token has nothing to prefill, so nothing else would report its scores.
        self._tell(telling.scored, state)
        self._add_paths(state, group.paths, grammars)

    def _extend(self, group_id: str, paths: Sequence[PathRequest]) -> None:
        state = self.scheduler.groups.get(group_id)
        if state is None:
            return  # It ended meanwhile, and its end was reported.
        try:
            if not state.open:
                raise InvalidParameter("open", "the group is not open for more paths")
            if state.group.hold:
                raise InvalidParameter("hold", "a prefix that is held takes no paths")
            check_paths(
                paths, state.paths.keys(), state.prompt_length, self.context, self._vocab_size
            )
        except InvalidParameter as error:
            self._drop(state)
            self._fail(group_id, "invalid", str(error), error.param)
            return
        try:
            grammars = self._reserve(paths, state.compiled)
        except _Full as full:
            self._drop(state)
            self._fail(group_id, "capacity", str(full))
            return
        self._add_paths(state, paths, grammars)

    def _abort(self, group_id: str, paths: Sequence[int] | None) -> None:
        state = self.scheduler.groups.get(group_id)
        if state is None:
            return
        if paths is None:
            state.open, state.embedding = False, None
        for path in list(state.paths.values()):
            if (paths is None or path.request.index in paths) and self._alive(path):
                self._finish(path, path.output.close(), Finish(reason="abort"))
        self._close_if_done(state)

    def abort_all(self, message: str) -> None:
        """Ends every group with an error: the worker is going away."""
        for state in list(self.scheduler.groups.values()):
            self._drop(state)
            self._fail(state.id, "unavailable", message)

    def expire(self) -> None:
        """Fails the groups whose deadline has passed."""
        now = self.clock()
        for state in list(self.scheduler.groups.values()):
            if state.deadline is not None and now >= state.deadline:
                self._drop(state)
                self._fail(state.id, "deadline", "the deadline passed before the answer was done")

    # --- one step ----------------------------------------------------------------------------

    def step(self) -> bool:
        """Sends the next step on its way and applies the one before, which ran meanwhile. False
        when there was nothing to do."""
        unsettled = self._settle()
        plan = self.scheduler.plan()
        before, self._in_flight = self._in_flight, None
        if plan is not None:
            self._announce(plan)
            self._in_flight = self._send(plan)
            self.scheduler.commit(plan)
            self.steps += 1
            self.decode_tokens += len(plan.rows)
            self.prefill_tokens += sum(chunk.count for chunk in plan.chunks)
        for state in self.scheduler.groups.values():
            self._tell(telling.held, state)
        if before is not None:
            before()
        elif plan is None and unsettled:
            wait(unsettled, timeout=_SETTLING_S)
            return True
        return plan is not None or before is not None or bool(self._events)

    def _send(self, plan: StepPlan) -> Callable[[], None]:
        """What is returned waits for the step's results and applies them."""
        if plan.pooled:
            sums = self._runner.pool(plan)
            return lambda: self._apply_sums(plan, sums())
        results = self._runner.run(plan)
        return lambda: self._apply(plan, results())

    def _apply_sums(self, plan: StepPlan, sums: list[np.ndarray]) -> None:
        for chunk, blocks in zip(plan.chunks, sums, strict=True):
            state = self._state_of(chunk.sequence)
            if state is None or state.embedding is None:
                continue  # It ended meanwhile.
            state.embedding.add(chunk.start, chunk.count, blocks)
            if state.embedding.count == state.prompt_length:
                values, state.embedding = state.embedding.mean(), None
                self._events.append(PromptEmbedded(group_id=state.id, values=values))
                self._close_if_done(state)

    def _apply(self, plan: StepPlan, results: list[RowResult]) -> None:
        """Scores first: a path that ends with its first token closes the group."""
        placed: list[tuple[int, ...]] = []
        for output, result in zip(plan.outputs, results, strict=True):
            placed.append(place(self.scheduler, output, result))
            # A prompt that lost its pages meanwhile may be read, and scored, a second time.
            if output.trunk is not None and len(output.trunk.scores) == output.position - 1:
                output.trunk.scores.append(
                    TokenLogprob(id=output.target, logprob=result.logprob, top=result.top)
                )
        trunks = [chunk.sequence for chunk in plan.chunks if isinstance(chunk.sequence, Trunk)]
        states = [state for trunk in trunks if (state := self._state_of(trunk)) is not None]
        for state in states:
            self._tell(telling.scored, state)
        for output, tokens, result in zip(plan.outputs, placed, results, strict=True):
            # A path may have ended since: by its token before, or by its caller.
            if output.path is not None and tokens and self._alive(output.path):
                self._advance(output.path, tokens, result)
        for state in states:
            if state.trunk.ready and not state.unscored:
                self._end_tokenless(state)

    def _announce(self, plan: StepPlan) -> None:
        for chunk in plan.everything:
            state = self._state_of(chunk.sequence)
            if state is not None:
                self._tell(telling.begun, state)

    def _tell(self, events: Callable[[GroupState, float], list[Event]], state: GroupState) -> None:
        self._events += events(state, self.clock())

    def _advance(self, path: Path, tokens: tuple[int, ...], result: RowResult) -> None:
        guide = path.guide
        if guide is not None and guide.broken:
            self._break_off(path, guide)
            return
        went_on = advanced(path, tokens, result)
        if went_on.finish is not None:
            self.scheduler.finish_path(path)
        self._events.append(went_on)
        if went_on.finish is not None:
            self._close_if_done(path.group)

    # --- endings -----------------------------------------------------------------------------

    def _reserve(
        self, requests: Sequence[PathRequest], compiled: Compiled
    ) -> dict[int, Future[AnyGrammar]]:
        """The grammars of these paths, begun to be compiled. Raises _Full."""
        # A group without paths takes a place too: an embedding, or one whose paths are to come.
        if self._sequences + max(1, len(requests)) > self._queue:
            raise _Full(f"the queue is full ({self._queue} paths)")
        try:
            return begun(self._constraints, requests, compiled)
        except TooManyGrammars:
            raise _Full("too many grammars are waiting to be compiled") from None

    def _settle(self) -> list[Future[AnyGrammar]]:
        """Guides paths whose grammars are compiled; fails groups with one that is none. Returns
        what is not compiled yet."""
        unsettled: list[Future[AnyGrammar]] = []
        for state in list(self.scheduler.groups.values()):
            missing = [grammar for grammar in state.grammars.values() if not grammar.done()]
            unsettled += missing
            if state.grammars and not missing:
                self._guide(state)
        return unsettled

    def _guide(self, state: GroupState) -> None:
        try:
            complete = guide_paths(state)
        except CannotGuide as error:
            self._drop(state)
            self._fail(state.id, error.code, str(error), "constraint")
            return
        for path in complete:
            self._tell(telling.begun, state)
            self._finish(path, path.output.close(), Finish(reason="stop"))
        self._close_if_done(state)

    def _break_off(self, path: Path, guide: Guide) -> None:
        """Nothing can follow: the path ends here, and with it its group if the grammar is to
        blame."""
        if guide.error is None:
            self._finish(path, path.output.close(), Finish(reason="length"))
            self._close_if_done(path.group)
            return
        self._drop(path.group)
        message = f"the grammar takes too much: {guide.error}"
        self._fail(path.group.id, "invalid", message, "constraint")

    def _add_paths(
        self,
        state: GroupState,
        requests: Sequence[PathRequest],
        grammars: dict[int, Future[AnyGrammar]],
    ) -> None:
        state.grammars |= grammars
        prompt = state.trunk.tokens
        for request in requests:
            path = Path(
                tokens=[*prompt, *request.suffix, *request.generated],
                tables=self.scheduler.empty_tables(),
                first_key=state.trunk.first_key,
                images=state.trunk.images,
                request=request,
                output=OutputText(
                    request.sampling, self._text.tokenizer, self._text.eos, request.generated
                ),
                group=state,
            )
            state.paths[request.index] = path
        if not state.unscored:
            self._end_tokenless(state)

    def _end_tokenless(self, state: GroupState) -> None:
        for path in state.waiting:
            if path.output.count >= path.request.sampling.max_tokens:
                self._tell(telling.begun, state)
                self._finish(path, path.output.close(), Finish(reason="length"))
        self._close_if_done(state)

    def _finish(self, path: Path, text: str, finish: Finish) -> None:
        self.scheduler.finish_path(path)
        self._events.append(
            PathOutput(group_id=path.group.id, path=path.request.index, text=text, finish=finish)
        )

    def _close_if_done(self, state: GroupState) -> None:
        if state.done and state.id in self.scheduler.groups:
            self._drop(state)
            self._events.append(GroupClosed(group_id=state.id))

    def _drop(self, state: GroupState) -> None:
        self.scheduler.remove(state)
        self.held.release(state.id)

    def _fail(self, group_id: str, code: str, message: str, param: str | None = None) -> None:
        self._events.append(
            GroupFailed(group_id=group_id, code=code, message=message, param=param)  # type: ignore[arg-type]
        )

    # --- lookups -----------------------------------------------------------------------------

    @property
    def _sequences(self) -> int:
        return sum(
            (group.embedding is not None)
            + sum(path.stage is not Stage.FINISHED for path in group.paths.values())
            for group in self.scheduler.groups.values()
        )

    @staticmethod
    def _alive(path: Path) -> bool:
        return path.stage is not Stage.FINISHED

    def _state_of(self, sequence: object) -> GroupState | None:
        if isinstance(sequence, Path):
            return self.scheduler.groups.get(sequence.group.id)
        return next((g for g in self.scheduler.groups.values() if g.trunk is sequence), None)


class _Full(Exception):
    """No more can be taken now."""
