"""What every plan would have run of a recorded poll, and whether it would have answered the same.

full          all k paths.
plain         one path after the other; stops when the route is certain.
greedy_first  the same, and stops as soon as the answer is certain, whatever the route.
throughput    greedy_first in whole groups, each the fewest paths that could decide.
latency       greedy_first with all k started at once, one token each per step; the paths that are
              unfinished when the verdict falls are cut off there.
lossy         one path after the other; stops when another answer is unlikely (`routing.lossy`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from routing.calibration.verdicts import Groups, Verdicts
from routing.lossy import DEFAULT_EPSILON, judge_lossy
from routing.records import BadRecord, RecordedPath, RecordedQuestion
from routing.stopping import Poll, Verdict, judge
from routing.tally import Tally

PlanName = Literal["full", "plain", "greedy_first", "throughput", "latency", "lossy"]
PLANS: tuple[PlanName, ...] = get_args(PlanName)
LOSSLESS: tuple[PlanName, ...] = tuple(name for name in PLANS if name != "lossy")


@dataclass(frozen=True)
class PlanReplay:
    """paths: finished when the verdict fell. tokens: decoded by then, of unfinished paths too."""

    verdict: Verdict
    paths: int
    tokens: int


@dataclass(frozen=True)
class PlanSummary:
    """Means over questions, and how many questions came out otherwise than under `full`.

    changed_answers: another answer was returned. changed_routes: the reported route is not the
    full poll's; `either` contradicts neither route as long as the answer is the same.
    """

    mean_paths: float
    mean_tokens: float
    changed_answers: int
    changed_routes: int


class Replays:
    """Replays questions under one threshold. Raises ValueError for an epsilon outside [0, 1)."""

    def __init__(self, k: int, min_votes: int, epsilon: float = DEFAULT_EPSILON) -> None:
        self._k, self._m = k, min_votes
        self._plain = Verdicts(lambda tally, poll: judge(tally, poll, "plain"))
        self._greedy_first = Verdicts(judge)
        self._lossy = Verdicts(lambda tally, poll: judge_lossy(tally, poll, epsilon))
        self._groups = Groups()

    def question(self, question: RecordedQuestion) -> dict[PlanName, PlanReplay]:
        """Every plan on the first k paths. Raises BadRecord when fewer were recorded."""
        if len(question.paths) < self._k:
            raise BadRecord(
                f"question {question.id!r}: {len(question.paths)} paths recorded, {self._k} asked"
            )
        paths = question.paths[: self._k]
        poll = Poll(self._k, self._m, question.greedy)
        return {
            "full": _all_of(paths, poll, self._plain),
            "plain": _one_by_one(paths, poll, self._plain),
            "greedy_first": _one_by_one(paths, poll, self._greedy_first),
            "throughput": _in_groups(paths, poll, self._greedy_first, self._groups),
            "latency": _in_lockstep(paths, poll, self._greedy_first),
            "lossy": _one_by_one(paths, poll, self._lossy),
        }


def _all_of(paths: Sequence[RecordedPath], poll: Poll, verdicts: Verdicts) -> PlanReplay:
    tally = Tally()
    for path in paths:
        tally = tally.with_vote(path.answer)
    verdict = verdicts.of(tally, poll)
    assert verdict is not None, "k paths decide every poll"
    return PlanReplay(verdict, len(paths), _tokens(paths))


def _one_by_one(paths: Sequence[RecordedPath], poll: Poll, verdicts: Verdicts) -> PlanReplay:
    tally = Tally()
    while (verdict := verdicts.of(tally, poll)) is None:
        tally = tally.with_vote(paths[tally.finished].answer)
    return PlanReplay(verdict, tally.finished, _tokens(paths[: tally.finished]))


def _in_groups(
    paths: Sequence[RecordedPath], poll: Poll, verdicts: Verdicts, groups: Groups
) -> PlanReplay:
    tally = Tally()
    while (verdict := verdicts.of(tally, poll)) is None:
        begun = tally.finished
        for path in paths[begun : begun + groups.size(tally, poll)]:
            tally = tally.with_vote(path.answer)
    return PlanReplay(verdict, tally.finished, _tokens(paths[: tally.finished]))


def _in_lockstep(paths: Sequence[RecordedPath], poll: Poll, verdicts: Verdicts) -> PlanReplay:
    """A path of n tokens ends at step n; of those that end at one step the lowest index first."""
    finishing = iter(sorted(paths, key=lambda path: path.tokens))
    tally, step = Tally(), 0
    while (verdict := verdicts.of(tally, poll)) is None:
        path = next(finishing)
        tally, step = tally.with_vote(path.answer), path.tokens
    return PlanReplay(verdict, tally.finished, sum(min(path.tokens, step) for path in paths))


def _tokens(paths: Sequence[RecordedPath]) -> int:
    return sum(path.tokens for path in paths)


def summarise(
    questions: Iterable[RecordedQuestion],
    k: int,
    min_votes: int,
    epsilon: float = DEFAULT_EPSILON,
) -> dict[PlanName, PlanSummary]:
    """All plans over all questions. Raises BadRecord for too few paths, ValueError for none."""
    replays = Replays(k, min_votes, epsilon)
    totals = {name: _Totals() for name in PLANS}
    for question in questions:
        by_plan = replays.question(question)
        for name, replay in by_plan.items():
            totals[name].add(replay, by_plan["full"].verdict)
    return {name: total.summary() for name, total in totals.items()}


def greedy_first_cost(
    questions: Sequence[RecordedQuestion], k: int, min_votes: int
) -> tuple[float, float]:
    """Mean paths and tokens of the greedy-first plan alone."""
    verdicts = Verdicts(judge)
    replays = [
        _one_by_one(question.paths[:k], Poll(k, min_votes, question.greedy), verdicts)
        for question in questions
    ]
    return (
        sum(replay.paths for replay in replays) / len(replays),
        sum(replay.tokens for replay in replays) / len(replays),
    )


def route_changed(verdict: Verdict, full: Verdict) -> bool:
    return verdict.answer != full.answer or verdict.route not in ("either", full.route)


class _Totals:
    def __init__(self) -> None:
        self.questions = self.paths = self.tokens = self.answers = self.routes = 0

    def add(self, replay: PlanReplay, full: Verdict) -> None:
        self.questions += 1
        self.paths += replay.paths
        self.tokens += replay.tokens
        self.answers += replay.verdict.answer != full.answer
        self.routes += route_changed(replay.verdict, full)

    def summary(self) -> PlanSummary:
        if self.questions == 0:
            raise ValueError("no questions were recorded")
        return PlanSummary(
            self.paths / self.questions, self.tokens / self.questions, self.answers, self.routes
        )
