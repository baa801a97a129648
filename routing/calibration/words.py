"""The findings in plain sentences."""

from routing.calibration.choose import Comparison, Setting
from routing.calibration.guarantee import rounded_up, statement
from routing.calibration.statistics import Difference, Interval
from routing.calibration.study import Study

FEW = 200  # questions below which only large differences can be seen

ARM_NAMES = {
    "greedy": "greedy answer, no chain of thought",
    "cot": "one greedy chain of thought",
    "path": "one sampled path (mean over paths)",
    "majority": "majority of all paths",
    "routed": "routed: majority, else greedy",
    "weighted_mean_logprob": "vote weighted by mean token probability",
    "weighted_group_confidence": "vote weighted by lowest group confidence",
    "weighted_self_certainty": "vote weighted by self-certainty",
}


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def between(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def points(difference: Difference) -> str:
    low, high = 100 * difference.interval.low, 100 * difference.interval.high
    return f"{100 * difference.mean:+.1f} points ({low:+.1f} to {high:+.1f})"


def votes(count: int) -> str:
    return "1 vote" if count == 1 else f"{count} votes"


def setting_in_words(setting: Setting) -> str:
    return f"k = {setting.k}, {votes(setting.min_votes)} to win"


def headline(comparison: Comparison) -> str:
    k, m = comparison.setting.k, comparison.setting.min_votes
    if comparison.arm == "routed":
        return f"Use routing: {k} paths, and a majority needs {votes(m)}."
    if comparison.arm == "majority":
        return (
            "Routing does not help here. Use the plain majority: "
            f"{k} paths, the most frequent answer wins (min_votes 1)."
        )
    return (
        "Routing does not help here. Use the greedy answer without chain of thought: "
        "no paths, no vote."
    )


def reasons(study: Study) -> list[str]:
    """Why, and how far to trust it; a sentence or two each."""
    found = study.comparison
    lines = [
        _chosen(study),
        _difference("routed", "the majority", found.routed_majority),
        _difference("routed", "the greedy answer", found.routed_greedy),
        _difference("the majority", "the greedy answer", found.majority_greedy),
    ]
    lines += _single_path(found)
    lines += _fallback(study)
    if found.questions < FEW:
        lines.append(
            f"Only {found.questions} questions report: the intervals are wide, and a difference "
            "that is not seen here may still be there."
        )
    return lines


def _chosen(study: Study) -> str:
    k, m = study.setting.k, study.setting.min_votes
    setting = f"k = {k} with {votes(m)} to win"
    if m == k + 1:
        setting = f"always greedy (k = {k} with {m} votes to win, which none can have)"
    if study.given:
        return f"The setting, {setting}, was given, so all {study.reporting} questions report."
    return (
        f"On {study.choosing} questions {setting} came out best of all settings; the numbers below "
        f"are from the other {study.reporting}."
    )


def _difference(first: str, second: str, difference: Difference) -> str:
    verdict = (
        "the interval includes 0, so neither is shown to be better"
        if difference.undecided
        else f"{first if difference.mean > 0 else second} is better"
    )
    return (
        f"{first.capitalize()} against {second}: {points(difference)}; {verdict} "
        f"(only the first right {difference.only_first} times, only the second "
        f"{difference.only_second}, McNemar p = {difference.p:.2g})."
    )


def _single_path(found: Comparison) -> list[str]:
    best = found.of(found.arm)
    for arm in found.arms:
        if arm.name in ("cot", "path") and arm.accuracy >= best.accuracy and best.paths > 1:
            name = ARM_NAMES[arm.name].split(" (")[0]
            return [
                f"{name.capitalize()} alone has {percent(arm.accuracy)} right, no less than that."
            ]
    return []


def _fallback(study: Study) -> list[str]:
    fallback = study.fallback
    if fallback is None:
        return ["Every question had enough votes: the rule never fell back to the greedy answer."]
    return [
        f"Where the votes were too few ({fallback.questions} questions) the greedy answer had "
        f"{percent(fallback.greedy)} right and the most frequent one "
        f"{percent(fallback.majority)}."
    ]


def promise(study: Study) -> list[str]:
    """The guarantee with its assumptions, or why there is none."""
    bound = study.bound
    if bound is None:
        return ["The recommended setting takes no majority, so there is nothing to promise about."]
    if bound.routed == 0:
        return [f"No question had {votes(bound.m)} for one answer: nothing can be promised."]
    return [
        statement(bound.upper, study.aims.delta),
        f"Seen: {bound.errors} wrong of {bound.routed} that had at least {votes(bound.m)}. The "
        "threshold was fixed without these questions"
        + (
            "."
            if not _halved(study)
            else "; since which arm to use was not, each of two candidates is bounded at half the "
            "risk of error."
        ),
        "Majority-routed is by all k paths, as the plan all reports it. Greedy-first reports "
        "either where it stops before the route is known, and what it calls majority are mostly "
        "answers other than the greedy one: a harder lot, not covered.",
    ]


def _halved(study: Study) -> bool:
    return not study.given and study.setting.min_votes not in (1, study.setting.k + 1)


def certified(study: Study) -> str | None:
    """What Learn then Test found for the error rate that was aimed at."""
    found = study.certified
    if found is None:
        return None
    aim = f"an error rate of {100 * found.alpha:g} % with confidence {100 * (1 - found.delta):g} %"
    if found.m is None:
        return (
            f"No threshold could be shown to hold {aim} at k = {study.setting.k}; starting at "
            f"{votes(found.start)} the least that can be shown is "
            f"{rounded_up(found.least_alpha)} %."
        )
    return (
        f"For {aim} an answer needs {found.m} of {study.setting.k} votes (Learn then Test, from "
        f"{votes(found.start)} down; the least that can be shown is "
        f"{rounded_up(found.least_alpha)} %)."
    )
