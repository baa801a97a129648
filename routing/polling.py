"""The state of one vote: which paths were started, what they said, what is still needed."""

from dataclasses import dataclass, field, replace

from model.contract import Finish, PathOutput
from routing.answers.base import Extraction
from routing.confidence import PathConfidence
from routing.decision import Decision, LimitedBy, Reading, Samples
from routing.lossy import judge_lossy
from routing.policy import RoutingPolicy
from routing.stopping import (
    Poll,
    Verdict,
    contenders,
    judge,
    judge_blind,
    min_votes,
    paths_to_decide,
    settle,
)
from routing.tally import Tally
from routing.weighing import shares, weigh


@dataclass
class PathRecord:
    """What one path (or the direct answer: index None) has produced so far."""

    index: int | None
    tokens: int = 0
    finish: Finish | None = None
    confidence: PathConfidence = field(default_factory=PathConfidence)
    _parts: list[str] = field(default_factory=list)

    def take(self, output: PathOutput) -> None:
        self.tokens += len(output.tokens)
        self._parts.append(output.text)
        self.confidence.take(output.logprobs)
        if output.finish is not None:
            self.finish = output.finish

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def reading(self, extraction: Extraction) -> Reading:
        """Of a path that ran to its end."""
        assert self.finish is not None
        return Reading(
            index=self.index,
            answer=extraction.vote,
            status=extraction.status,
            text=self.text,
            tokens=self.tokens,
            finish=self.finish.reason,
        )


class Polling:
    """Paths are started in the order of their index and counted as they finish.

    The greedy answer is unknown at first (`learn_greedy`); `exhaust` ends the vote where a budget
    ends.
    whole: the poll of all k. poll: of those that may run; smaller under a budget of paths, with
    the same share to be above. It decides where the whole one cannot be decided any more.
    stopped: paths that the router asked to abort; whatever they still send is only metered.
    limited_by: the first budget that made a difference.
    """

    def __init__(self, policy: RoutingPolicy, answer_type: str) -> None:
        self.policy = policy
        self.answer_type = answer_type
        most = policy.most_paths
        self.whole = Poll(policy.k, policy.threshold, None)
        self.poll = Poll(most, min_votes(most, policy.exact_share), None)
        self.tally = Tally()
        self.paths: dict[int, PathRecord] = {}
        self.stopped: set[int] = set()
        self.verdict: Verdict | None = None
        self.limited_by: LimitedBy | None = None
        self.exhausted = False
        self.weights: dict[str, float] | None = None
        self._readings: dict[int, Reading] = {}
        self._ballots: dict[int, float] = {}
        self._direct: Reading | None = None
        self._capped = False
        self._settled = False
        self._lossy = False

    # --- what happens to it ----------------------------------------------------------------------

    def start(self, min_running: int) -> range:
        """Indices to start now. What a verdict could need, at the pace of the plan."""
        if self.exhausted:
            return range(0)
        otherwise = self.policy.on_disagreement
        # A verdict of the whole poll is always one of the smaller, so neither can be sooner.
        needed = max(1, paths_to_decide(self.tally, self.poll, "greedy_first", otherwise))
        match self.policy.plan:
            case "latency" | "full":
                wanted = self.poll.remaining(self.tally)
            case "throughput":
                wanted = needed
            case _:
                wanted = max(min_running, needed)
        first = len(self.paths)
        count = max(0, min(wanted - len(self.running), self.poll.k - first))
        for index in range(first, first + count):
            self.paths[index] = PathRecord(index)
        return range(first, first + count)

    def take(self, output: PathOutput) -> bool:
        """Notes an output. True when its path has just ended and is to be counted."""
        path = self.paths[output.path]
        path.take(output)
        return output.finish is not None and output.path not in self.stopped

    def learn_greedy(self, reading: Reading) -> None:
        self._direct = reading
        self.whole = replace(self.whole, greedy=reading.answer)
        self.poll = replace(self.poll, greedy=reading.answer)
        self._judge()

    def count(self, reading: Reading, weight: float) -> None:
        """Adds a finished path to the tally; the verdict, once there, stays."""
        assert reading.index is not None
        self._readings[reading.index] = reading
        self._ballots[reading.index] = weight
        self.tally = self.tally.with_vote(reading.answer)
        self._judge()

    def exhaust(self, by: LimitedBy) -> None:
        """A budget is spent: nothing more runs, and what has finished decides.

        Without the greedy answer there may be no verdict after it: then no majority was there.
        """
        self.limited_by, self.exhausted = self.limited_by or by, True
        self._judge()
        if by == "deadline" and self.verdict is None:
            self._accept_settled(None)

    def stop(self, indices: set[int]) -> None:
        self.stopped |= indices

    # --- what is known ---------------------------------------------------------------------------

    @property
    def running(self) -> set[int]:
        return self.paths.keys() - self._readings.keys() - self.stopped

    @property
    def knows_greedy(self) -> bool:
        return self._direct is not None

    @property
    def tokens(self) -> int:
        """Sampled by all paths, stopped ones included."""
        return sum(path.tokens for path in self.paths.values())

    @property
    def consensus(self) -> tuple[float, float]:
        """As of now, over the paths that may run."""
        return self.tally.consensus(self.poll.k)

    @property
    def remaining(self) -> int:
        return self.poll.remaining(self.tally)

    def votes(self) -> dict[str, int]:
        ranked = self.tally.ranked(self.poll.greedy) if self.weights is None else self.weights
        return {answer: self.tally.counts[answer] for answer in ranked}

    def representative(self) -> int | None:
        """The path whose text is shown; None for the greedy text. Needs a verdict.

        The first that voted for the answer; for the greedy answer only among the paths that no
        poll decides without, since any other may never be started.
        """
        assert self.verdict is not None
        voters = self._voters(self.verdict.answer)
        if self._shows_greedy:
            voters = [index for index in voters if index < self._always_started]
        return min(voters, default=None)

    def needed_for_text(self) -> set[int]:
        """Running paths that must finish before the representative is certain."""
        assert self.verdict is not None
        if self.verdict.answer is None:
            return set()
        first = self.representative()
        before = self._always_started if first is None else first
        return {index for index in self.running if index < before}

    def needs_direct(self) -> bool:
        """Whether the text hangs on the greedy answer, which is not known yet."""
        assert self.verdict is not None
        if self.knows_greedy or self.verdict.answer is None:
            return False
        first = self.representative()
        return first is None or first >= self._always_started

    def hopeless(self) -> set[int]:
        """Running paths that change neither the outcome nor the text: no answer can win any more,
        so the greedy one is it, whatever it will be."""
        if self.policy.on_disagreement != "greedy" or contenders(self.tally, self.whole):
            return set()
        return {index for index in self.running if index >= self._always_started}

    def decision(self, *, final: bool) -> Decision:
        """Needs a verdict. Samples and votes are as of now. final: with texts, if asked for."""
        assert self.verdict is not None
        policy, run, started = self.policy, self.tally.finished, len(self.paths)
        with_texts = final and policy.include_paths
        readings = tuple(reading for _, reading in sorted(self._readings.items()))
        return Decision(
            route=self.verdict.route,
            answer=self.verdict.answer,
            consensus=self.tally.consensus(self._polled),
            votes=self.votes(),
            k=policy.k,
            tau=policy.share,
            min_votes=policy.threshold,
            samples=Samples(
                run=run,
                stopped=started - run,
                saved=policy.k - started,
                invalid=self.tally.invalid,
            ),
            answer_type=self.answer_type,
            plan=policy.plan,
            on_disagreement=policy.on_disagreement,
            voting=policy.weighting or "count",
            limited_by=self.limited_by,
            limited_to=self._polled if self._polled < policy.k else None,
            lossy=policy.risk if self._lossy else None,
            weights=self.weights,
            readings=readings if with_texts else None,
            direct=self._direct if with_texts else None,
        )

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _always_started(self) -> int:
        """So many paths are needed for any verdict: m for a majority, k - m + 1 against one."""
        return min(self.poll.min_votes, self.poll.k - self.poll.min_votes + 1)

    @property
    def _shows_greedy(self) -> bool:
        assert self.verdict is not None
        return self.knows_greedy and self.verdict.answer == self.poll.greedy

    @property
    def _polled(self) -> int:
        """The number of paths that the rule is applied to."""
        if self._settled:
            return self.tally.finished
        return self.poll.k if self._capped else self.policy.k

    def _voters(self, answer: str | None) -> list[int]:
        if answer is None:
            return []
        return [i for i, reading in self._readings.items() if reading.answer == answer]

    def _judge(self) -> None:
        if self.verdict is not None:
            return
        if not self.knows_greedy:
            if self.policy.plan == "latency":
                self.verdict = judge_blind(self.tally, self.whole, self.policy.on_disagreement)
        elif self.policy.weighting is not None:
            if self.exhausted or self.remaining == 0:
                self._accept_weighed()
        elif self.policy.plan != "full" or self.remaining == 0:
            self.verdict = self._by_count()
        if self.verdict is None and self.exhausted and self.knows_greedy:
            self._accept_settled(self.poll.greedy)

    def _by_count(self) -> Verdict | None:
        tally, otherwise = self.tally, self.policy.on_disagreement
        verdict = judge(tally, self.whole, "greedy_first", otherwise)
        if verdict is None and self.policy.plan == "lossy":
            verdict = judge_lossy(tally, self.whole, self.policy.risk)
            self._lossy = verdict is not None
        if verdict is not None or self.poll.k == self.whole.k:
            return verdict
        if paths_to_decide(tally, self.whole, "greedy_first", otherwise) <= self.remaining:
            return None
        verdict = judge(tally, self.poll, "greedy_first", otherwise)
        if verdict is not None:
            self._capped = True
            self.limited_by = self.limited_by or "paths"
        return verdict

    def _accept_settled(self, greedy: str | None) -> None:
        """What the finished paths say. Without the greedy answer some must have finished, and a
        route to it is none."""
        share, otherwise = self.policy.exact_share, self.policy.on_disagreement
        verdict = settle(self.tally, share, greedy, otherwise)
        if self.knows_greedy or (self.tally.finished and verdict.route != "greedy"):
            self.verdict, self._settled = verdict, True

    def _accept_weighed(self) -> None:
        greedy, policy = self.poll.greedy, self.policy
        ballots = [(self._readings[i].answer, self._ballots[i]) for i in sorted(self._readings)]
        parts = shares(ballots, greedy)
        self.verdict = weigh(parts, policy.exact_share, greedy, policy.on_disagreement)
        # Answers whose paths weigh nothing are listed too.
        self.weights = {**parts, **{a: 0.0 for a in self.tally.ranked(greedy) if a not in parts}}
        self._settled = self.tally.finished < policy.k
        if self._settled:
            self.limited_by = self.limited_by or "paths"
