"""What comes out of a vote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from routing.answers.base import ExtractionStatus
from routing.stopping import OnDisagreement, Route

LimitedBy = Literal["paths", "tokens", "deadline"]


@dataclass(frozen=True)
class Samples:
    """What became of the k paths: run to the end, stopped while running, never started.

    invalid: of those run, how many gave no vote.
    """

    run: int
    stopped: int
    saved: int
    invalid: int


@dataclass(frozen=True)
class Reading:
    """What one path (or the direct answer: index None) said, and what was read out of it.

    answer: canonical; None unless status is "ok". finish: "stop" or "length".
    """

    index: int | None
    answer: str | None
    status: ExtractionStatus
    text: str
    tokens: int
    finish: str

    def to_response(self) -> dict[str, Any]:
        index = {} if self.index is None else {"index": self.index}
        return {
            **index,
            "answer": self.answer,
            "status": self.status,
            "text": self.text,
            "tokens": self.tokens,
            "finish": self.finish,
        }


@dataclass(frozen=True)
class Decision:
    """The outcome of a vote.

    answer: canonical; None when the route is abstain, or greedy and the greedy text has no usable
    answer. consensus: the share of the most frequent answer, as the interval that the poll could
    have ended with; a point when all of it ran. votes: the winner first. calibration: id of the
    calibration in force, if any.
    answer_type: the kind of answer that voted; where the caller left it open, what the question
    looked like.
    limited_by: the budget that ended the vote, or the wait for the text that shows it. limited_to:
    the number of paths that the rule was applied to instead of k, when a budget decided.
    lossy: the risk taken, when the verdict was likely and not certain. voting: what a vote counts.
    weights: each answer's share of the weight, when votes weigh. readings: of the paths that ran
    to their end, and direct of the direct answer, when they were asked for.
    """

    route: Route
    answer: str | None
    consensus: tuple[float, float]
    votes: Mapping[str, int]
    k: int
    tau: float | None
    min_votes: int
    samples: Samples
    calibration: str | None = None
    answer_type: str = "exact"
    plan: str = "greedy_first"
    on_disagreement: OnDisagreement = "greedy"
    voting: str = "count"
    limited_by: LimitedBy | None = None
    limited_to: int | None = None
    lossy: float | None = None
    weights: Mapping[str, float] | None = None
    readings: tuple[Reading, ...] | None = None
    direct: Reading | None = None

    def to_response(self) -> dict[str, Any]:
        """The `uncertainty_routing` object of every protocol, ready for JSON.

        What was not asked for is left out.
        """
        response: dict[str, Any] = {
            "route": self.route,
            "answer": self.answer,
            "answer_type": self.answer_type,
            "consensus": list(self.consensus),
            "votes": dict(self.votes),
            "k": self.k,
            "tau": self.tau,
            "min_votes": self.min_votes,
            "samples": {
                "run": self.samples.run,
                "stopped": self.samples.stopped,
                "saved": self.samples.saved,
                "invalid": self.samples.invalid,
            },
            "limited_by": self.limited_by,
            "calibration": self.calibration,
        }
        if self.plan != "greedy_first":
            response["plan"] = self.plan
        if self.on_disagreement != "greedy":
            response["on_disagreement"] = self.on_disagreement
        if self.voting != "count":
            response["voting"] = self.voting
        if self.weights is not None:
            response["weights"] = dict(self.weights)
        if self.limited_to is not None:
            response["limited_to"] = self.limited_to
        if self.lossy is not None:
            response["lossy"] = self.lossy
        if self.readings is not None:
            response["direct"] = None if self.direct is None else self.direct.to_response()
            response["paths"] = [reading.to_response() for reading in self.readings]
        return response
