"""The state of one vote: which paths were started, what they said, what is still needed."""

from dataclasses import dataclass, field

from model.contract import Finish, PathOutput
from routing.answers.base import Extraction
from routing.policy import Decision, RoutingPolicy, Samples
from routing.stopping import Poll, Verdict, judge, paths_to_decide
from routing.tally import Tally


@dataclass
class PathRecord:
    """What one path has produced so far."""

    index: int
    tokens: int = 0
    finish: Finish | None = None
    _parts: list[str] = field(default_factory=list)

    def take(self, output: PathOutput) -> None:
        self.tokens += len(output.tokens)
        self._parts.append(output.text)
        if output.finish is not None:
            self.finish = output.finish

    @property
    def text(self) -> str:
        return "".join(self._parts)


class Polling:
    """Paths are started in the order of their index and counted as they finish.

    stopped: paths that the router asked to abort; whatever they still send is only metered.
    """

    def __init__(self, policy: RoutingPolicy, greedy: str | None) -> None:
        self.policy = policy
        self.poll = Poll(policy.k, policy.threshold, greedy)
        self.tally = Tally()
        self.paths: dict[int, PathRecord] = {}
        self.stopped: set[int] = set()
        self._answers: dict[int, str | None] = {}
        self.verdict: Verdict | None = judge(self.tally, self.poll, policy.plan)

    @property
    def running(self) -> set[int]:
        return self.paths.keys() - self._answers.keys() - self.stopped

    def start(self, min_running: int) -> range:
        """Indices to start now, so that a verdict can fall with as few paths as possible."""
        wanted = max(min_running, paths_to_decide(self.tally, self.poll, self.policy.plan))
        first = len(self.paths)
        count = max(0, min(wanted - len(self.running), self.policy.k - first))
        for index in range(first, first + count):
            self.paths[index] = PathRecord(index)
        return range(first, first + count)

    def take(self, output: PathOutput) -> bool:
        """Notes an output. True when its path has just ended and is to be counted."""
        path = self.paths[output.path]
        path.take(output)
        return output.finish is not None and output.path not in self.stopped

    def count(self, index: int, extraction: Extraction) -> None:
        """Adds a finished path to the tally; the verdict, once there, stays."""
        self._answers[index] = extraction.vote
        self.tally = self.tally.with_vote(extraction.vote)
        if self.verdict is None:
            self.verdict = judge(self.tally, self.poll, self.policy.plan)

    def votes(self) -> dict[str, int]:
        return {answer: self.tally.counts[answer] for answer in self.tally.ranked(self.poll.greedy)}

    def representative(self) -> int | None:
        """The path whose text is shown; None for the greedy text. Needs a verdict."""
        assert self.verdict is not None
        if self.verdict.answer == self.poll.greedy:
            return None
        return min(i for i, answer in self._answers.items() if answer == self.verdict.answer)

    def needed_for_text(self) -> set[int]:
        """Running paths that must finish before the representative is certain."""
        representative = self.representative()
        if representative is None:
            return set()
        return {index for index in self.running if index < representative}

    def decision(self) -> Decision:
        """Needs a verdict. Samples and votes are as of now."""
        assert self.verdict is not None
        run, started = self.tally.finished, len(self.paths)
        return Decision(
            route=self.verdict.route,
            answer=self.verdict.answer,
            consensus=self.tally.consensus(self.policy.k),
            votes=self.votes(),
            k=self.policy.k,
            tau=self.policy.share,
            min_votes=self.policy.threshold,
            samples=Samples(
                run=run,
                stopped=started - run,
                saved=self.policy.k - started,
                invalid=self.tally.invalid,
            ),
        )
