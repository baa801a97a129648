"""Everything that a record tells of one configuration, for the report and the artefact."""

from collections.abc import Sequence
from dataclasses import dataclass

from routing.calibration.choose import Comparison, Setting, best, compare, split
from routing.calibration.consensus import Reliability, RiskCoverage, reliability, risk_coverage
from routing.calibration.guarantee import Bound, Chosen, bound, first_testable, learn_then_test
from routing.calibration.histograms import histogram, invalid_rate
from routing.calibration.outcomes import Outcomes, outcomes
from routing.calibration.replays import PlanName, PlanSummary, summarise
from routing.calibration.statistics import Difference, paired_difference
from routing.calibration.sweep import Sweep, sweep
from routing.lossy import DEFAULT_EPSILON
from routing.policy import MAX_K
from routing.records import RecordedQuestion


@dataclass(frozen=True)
class Aims:
    """What is asked of a study. k, min_votes: fixed beforehand, or None to be chosen.

    path_weight: accuracy that one more expected path must be worth. alpha, delta: of the
    guarantee. seed: of the split and of orders. epsilon: of the lossy plan.
    """

    k: int | None = None
    min_votes: int | None = None
    path_weight: float = 0.0
    alpha: float = 0.05
    delta: float = 0.05
    seed: int = 0
    epsilon: float = DEFAULT_EPSILON


@dataclass(frozen=True)
class Fallback:
    """The questions without enough votes: does the greedy answer do better there?"""

    questions: int
    greedy: float
    majority: float
    difference: Difference


@dataclass(frozen=True)
class Study:
    """setting: chosen, or given. adopted: with the votes that the recommended arm needs.

    choosing, reporting: questions that chose and that the numbers are from; when the setting was
    given nothing was chosen, and all report. sweep: of those that chose, or else of all. plans: of
    all questions, as are invalid_rate and the histograms (questions by the votes of the mode, 0 to
    k). bound: for the adopted setting; None when it never takes a majority. certified: None when
    there were too few questions to split.
    """

    aims: Aims
    questions: int
    known: int
    choosing: int
    reporting: int
    k_max: int
    given: bool
    setting: Setting
    adopted: Setting
    comparison: Comparison
    sweep: Sweep
    plans: dict[PlanName, PlanSummary]
    risk_coverage: RiskCoverage
    reliability: Reliability
    fallback: Fallback | None
    bound: Bound | None
    certified: Chosen | None
    invalid_rate: float
    histogram: tuple[int, ...]
    histogram_k_max: tuple[int, ...]


def study(questions: Sequence[RecordedQuestion], aims: Aims) -> Study:
    """Raises ValueError, in one line, when the record cannot tell."""
    known = [question for question in questions if question.answer is not None]
    if not known:
        raise ValueError("no question has a known answer, so nothing can be chosen")
    k_max = min(MAX_K, *(len(question.paths) for question in questions))
    if aims.k is not None and not 1 <= aims.k <= k_max:
        raise ValueError(f"k must be between 1 and {k_max}, which all questions have")
    given = aims.min_votes is not None
    try:
        halves = split(known, aims.seed)
    except ValueError:
        if not given:
            raise
        halves = None
    choosing, reporting = (known, known) if given or halves is None else halves
    swept = sweep(choosing, k_max, aims.seed)
    setting = (
        Setting(aims.k or k_max, aims.min_votes)
        if aims.min_votes is not None
        else best(swept, aims.path_weight, aims.k)
    )
    comparison = compare(reporting, setting)
    adopted = setting if given else _adopted(comparison)
    found = outcomes(reporting, setting.k)
    # The arm is chosen on the questions that bound its errors: one of two thresholds.
    candidates = 1 if given or setting.min_votes in (1, setting.k + 1) else 2
    return Study(
        aims=aims,
        questions=len(questions),
        known=len(known),
        choosing=0 if given else len(choosing),
        reporting=len(reporting),
        k_max=k_max,
        given=given,
        setting=setting,
        adopted=adopted,
        comparison=comparison,
        sweep=swept,
        plans=summarise(questions, setting.k, setting.min_votes, aims.epsilon),
        risk_coverage=risk_coverage(found.consensus, found.majority),
        reliability=reliability(found.consensus, found.majority),
        fallback=_fallback(found, setting.min_votes),
        bound=None
        if adopted.min_votes > adopted.k
        else bound(found.votes, found.wrong, adopted.min_votes, aims.delta / candidates),
        certified=None if halves is None else _certified(*halves, setting.k, aims),
        invalid_rate=invalid_rate(questions, setting.k),
        histogram=histogram(questions, setting.k),
        histogram_k_max=histogram(questions, k_max),
    )


def _adopted(comparison: Comparison) -> Setting:
    k = comparison.setting.k
    votes = {"greedy": k + 1, "majority": 1, "routed": comparison.setting.min_votes}
    return Setting(k, votes[comparison.arm])


def _fallback(found: Outcomes, min_votes: int) -> Fallback | None:
    below = found.votes < min_votes
    if not below.any():
        return None
    greedy, majority = found.greedy[below], found.majority[below]
    return Fallback(
        int(below.sum()),
        float(greedy.mean()),
        float(majority.mean()),
        paired_difference(greedy, majority),
    )


def _certified(
    choosing: list[RecordedQuestion], reporting: list[RecordedQuestion], k: int, aims: Aims
) -> Chosen:
    start = first_testable(outcomes(choosing, k).votes, k, aims.alpha, aims.delta)
    found = outcomes(reporting, k)
    return learn_then_test(found.votes, found.wrong, start, aims.alpha, aims.delta)
