"""What goes into a routed question and what comes out of it while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass

from model.contract import FailureCode, Prompt, SamplingParams
from routing.answers.base import ExtractionStatus
from routing.decision import Decision


class RoutingFailed(Exception):
    """The question cannot be answered. `code` and `param` are the contract's.

    retry_after: seconds, when trying again may help.
    """

    def __init__(
        self,
        code: FailureCode,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.retry_after = retry_after


@dataclass(frozen=True)
class Question:
    """A question in the model's tokens, asked in two ways.

    direct: the prompt that asks for the answer alone, sampled greedily. reasoned: the prompt that
    asks to think first. path_sampling: of the paths; its seed is the base of theirs.
    text: the question as the caller wrote it, in which lettered options are looked for.
    begun: what the reasoned prompt has begun of the reply, where that tells reasoning from answer.
    """

    direct: Prompt
    reasoned: Prompt
    direct_sampling: SamplingParams
    path_sampling: SamplingParams
    text: str = ""
    begun: str = ""

    def __post_init__(self) -> None:
        if self.direct_sampling.temperature != 0:
            raise ValueError("the direct answer is greedy: its temperature must be 0")
        if self.path_sampling.temperature == 0:
            raise ValueError("paths must differ: their temperature must be above 0")


@dataclass(frozen=True)
class DirectDone:
    """The greedy answer without chain of thought is there. answer: canonical, or None.

    With the plan latency it may come after votes, or not at all when the vote did not need it.
    """

    text: str
    answer: str | None
    tokens: int
    status: ExtractionStatus


@dataclass(frozen=True)
class PathDone:
    """A path ran to its end. votes, consensus, run and remaining are as of now, it included.

    text: all that it wrote. remaining: paths that may still vote, a budget's limit counted.
    """

    path: int
    status: ExtractionStatus
    answer: str | None
    tokens: int
    text: str
    votes: Mapping[str, int]
    consensus: tuple[float, float]
    run: int
    remaining: int


@dataclass(frozen=True)
class Decided:
    """The answer is decided. Samples are as of this moment, and no texts yet; see `Shown`."""

    decision: Decision


@dataclass(frozen=True)
class RouteUsage:
    """Tokens. prompt: each prompt once, however many paths share it. cached: those of them that
    were not read again. completion: all that were sampled, of stopped paths too. reasoning: those
    of them that belong to paths."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class Shown:
    """The last event: the text for the caller.

    path: whose text it is; None is the greedy one, or none when the route is abstain (the text is
    empty then). finish_reason: "stop" or "length".
    reasoning: what the model wrote before the text, where that is told apart; the router does not.
    decision: the same answer and route as in `Decided`, with final samples and votes (paths that
    were finished for their text are counted as run). Use this one in a response.
    """

    text: str
    finish_reason: str
    path: int | None
    usage: RouteUsage
    decision: Decision
    reasoning: str = ""


RouteEvent = DirectDone | PathDone | Decided | Shown
