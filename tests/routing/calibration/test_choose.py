"""Choosing on one half, reporting on the other, and saying plainly when routing does not help."""

import numpy as np
import pytest

from routing.calibration import words
from routing.calibration.choose import Setting, best, compare, in_choosing_half, simplest, split
from routing.calibration.histograms import histogram, invalid_rate
from routing.calibration.outcomes import outcomes
from routing.calibration.statistics import Difference, Interval
from routing.calibration.study import Aims, study
from routing.calibration.sweep import Sweep, sweep
from routing.records import RecordedPath, RecordedQuestion
from tests.routing.calibration.recorded import record


def routing_helps(count: int = 500) -> list[RecordedQuestion]:
    """Paths agree on the truth, or scatter; where they scatter the greedy answer is better."""
    sure = record(count // 2, 8, path_right=(0.85, 1), greedy_right=0.5, seed=1)
    lost = record(count - count // 2, 8, path_right=(0, 0.2), greedy_right=0.7, seed=2)
    return [
        RecordedQuestion(id=i, answer=q.answer, greedy=q.greedy, paths=q.paths)
        for i, q in enumerate([*sure, *lost])
    ]


def test_the_split_is_stable_when_questions_are_added_and_about_even() -> None:
    asked = record(1000, 1)
    choosing, reporting = split(asked)
    assert abs(len(choosing) - 500) < 80
    assert {q.id for q in choosing} & {q.id for q in reporting} == set()
    fewer, _ = split(asked[::2])
    assert {q.id for q in fewer} <= {q.id for q in choosing}
    assert split(asked, seed=1)[0] != choosing
    assert any(
        in_choosing_half(RecordedQuestion(id=n, answer="", greedy="", paths=()))
        != in_choosing_half(RecordedQuestion(id=str(n), answer="", greedy="", paths=()))
        for n in range(20)
    )


def test_too_few_questions_to_split_are_refused() -> None:
    with pytest.raises(ValueError, match="1 questions with a known answer are too few"):
        split(record(1, 2))


def flat(k_max: int = 4) -> Sweep:
    exists = np.arange(k_max + 2) <= np.arange(k_max + 1)[:, None] + 1
    exists[0] = False
    accuracy = np.where(exists, 0.5, np.nan)
    paths = np.where(exists, np.arange(k_max + 1)[:, None] * 1.0, np.nan)
    for k in range(1, k_max + 1):
        paths[k, k + 1] = 0
    return Sweep(k_max, 10, accuracy, paths, paths, 0.0, 0.0)


def test_among_equals_the_cheapest_is_chosen_and_greedy_is_compared_at_the_largest_k() -> None:
    found = flat()
    assert best(found) == Setting(4, 5)
    found.accuracy[2, 2] = found.accuracy[3, 2] = 0.6
    assert best(found) == Setting(2, 2)
    assert best(found, k=3) == Setting(3, 2)
    found.accuracy[4, 3] = 0.61
    assert best(found) == Setting(4, 3)
    assert best(found, weight=0.01) == Setting(2, 2)


def test_the_mode_without_a_way_back_is_never_chosen() -> None:
    found = flat()
    found.accuracy[4, 0] = 1.0
    assert best(found).min_votes > 0


def difference(low: float, high: float) -> Difference:
    return Difference((low + high) / 2, Interval(low, high), 0, 0, 1.0)


@pytest.mark.parametrize(
    ("routed_majority", "routed_greedy", "majority_greedy", "arm"),
    [
        ((0.01, 0.1), (0.01, 0.1), (-0.1, 0.1), "routed"),
        ((-0.01, 0.1), (0.01, 0.1), (-0.01, 0.1), "majority"),
        ((0.01, 0.1), (-0.01, 0.1), (-0.1, 0.0), "greedy"),
        ((-0.1, 0.1), (-0.1, 0.1), (-0.1, 0.1), "greedy"),
        ((-0.1, 0.1), (-0.1, 0.1), (0.01, 0.1), "majority"),
        ((-0.1, 0.1), (0.01, 0.1), (-0.1, -0.01), "routed"),
        ((-0.1, -0.01), (0.01, 0.1), (0.05, 0.2), "majority"),
        ((0.0, 0.1), (0.0, 0.1), (0.0, 0.1), "greedy"),
    ],
)
def test_the_simplest_arm_that_no_other_is_shown_to_beat(
    routed_majority: tuple[float, float],
    routed_greedy: tuple[float, float],
    majority_greedy: tuple[float, float],
    arm: str,
) -> None:
    found = simplest(
        difference(*routed_majority), difference(*routed_greedy), difference(*majority_greedy)
    )
    assert found == arm


def test_where_routing_helps_it_is_chosen_on_one_half_and_reported_on_the_other() -> None:
    asked = routing_helps()
    found = study(asked, Aims())
    choosing, reporting = split(asked)
    assert found.setting == best(sweep(choosing, 8))
    assert found.comparison.arm == "routed"
    assert found.comparison == compare(reporting, found.setting)
    assert (found.choosing, found.reporting) == (len(choosing), len(reporting))
    assert "Use routing" in words.headline(found.comparison)
    assert found.fallback is not None
    assert found.fallback.greedy > found.fallback.majority


def test_where_it_does_not_help_the_verdict_says_so_and_names_the_simple_arm() -> None:
    good_paths = study(record(300, 8, path_right=(0.7, 1), greedy_right=0.3), Aims())
    assert good_paths.comparison.arm == "majority"
    assert good_paths.adopted == Setting(good_paths.setting.k, 1)
    headline = words.headline(good_paths.comparison)
    assert headline.startswith("Routing does not help here. Use the plain majority")
    bad_paths = study(record(300, 8, path_right=(0, 0.2), greedy_right=0.9), Aims())
    assert bad_paths.comparison.arm == "greedy"
    assert bad_paths.adopted.min_votes == bad_paths.adopted.k + 1
    assert bad_paths.bound is None
    assert "Use the greedy answer" in words.headline(bad_paths.comparison)
    assert any("includes 0" in line for line in words.reasons(bad_paths))


def test_few_questions_are_called_few() -> None:
    lines = words.reasons(study(record(40, 4), Aims()))
    assert any(line.startswith("Only ") and "intervals are wide" in line for line in lines)


def test_a_given_setting_is_kept_and_all_questions_report() -> None:
    asked = record(60, 8)
    found = study(asked, Aims(k=6, min_votes=4))
    assert found.setting == found.adopted == Setting(6, 4)
    assert (found.given, found.choosing, found.reporting) == (True, 0, 60)
    assert found.bound is not None
    assert found.bound.upper == study(asked, Aims(k=6, min_votes=4, delta=0.05)).bound.upper


def test_an_arm_chosen_on_the_questions_that_bound_it_is_bounded_more_carefully() -> None:
    asked = routing_helps()
    chosen = study(asked, Aims())
    _, reporting = split(asked)
    given = study(reporting, Aims(k=chosen.setting.k, min_votes=chosen.setting.min_votes))
    assert (chosen.bound.routed, chosen.bound.errors) == (given.bound.routed, given.bound.errors)
    assert chosen.bound.upper > given.bound.upper


@pytest.mark.parametrize("k", [0, 5])
def test_more_paths_than_were_recorded_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be between 1 and 4"):
        study(record(10, 4), Aims(k=k))


def test_a_given_setting_needs_no_halves() -> None:
    found = study(record(1, 4), Aims(min_votes=3))
    assert found.certified is None
    assert words.certified(found) is None


def test_without_known_answers_nothing_can_be_chosen() -> None:
    unknown = [RecordedQuestion(id=1, answer=None, greedy="1", paths=(RecordedPath(answer="1"),))]
    with pytest.raises(ValueError, match="no question has a known answer"):
        study(unknown, Aims())


def weighted_question() -> RecordedQuestion:
    paths = [("1", -0.1, 9.0), ("2", -2.0, 1.0), ("2", -2.0, 1.0), (None, 0.0, 50.0)]
    return RecordedQuestion(
        id=1,
        answer="1",
        greedy=None,
        paths=tuple(
            RecordedPath(answer=answer, mean_logprob=logprob, group_confidence=confidence)
            for answer, logprob, confidence in paths
        ),
        cot=RecordedPath(answer="1", tokens=7),
    )


def test_weighted_votes_and_the_greedy_chain_are_arms_when_they_were_recorded() -> None:
    found = outcomes([weighted_question()], 4)
    arms = found.arms(2)
    assert arms["majority"] == [0]
    assert arms["weighted_mean_logprob"] == [1]
    assert arms["weighted_group_confidence"] == [1]
    assert arms["cot"] == [1]
    assert arms["path"] == [0.25]
    assert "weighted_self_certainty" not in arms
    plain = RecordedQuestion(id=2, answer="1", greedy="1", paths=weighted_question().paths)
    assert "cot" not in outcomes([weighted_question(), plain], 4).arms(2)


def test_a_question_without_a_vote_is_wrong_by_majority_and_greedy_when_routed() -> None:
    silent = RecordedQuestion(id=1, answer="1", greedy="1", paths=(RecordedPath(answer=None),) * 3)
    found = outcomes([silent], 3)
    assert found.majority == [0]
    assert found.routed(1) == [1]
    assert histogram([silent], 3) == (1, 0, 0, 0)
    assert invalid_rate([silent], 3) == 1


def test_the_greedy_answer_wins_a_tie_for_the_mode() -> None:
    tied = (RecordedPath(answer="1"), RecordedPath(answer="0"))
    won = RecordedQuestion(id=1, answer="1", greedy="1", paths=tied)
    lost = RecordedQuestion(id=2, answer="1", greedy="7", paths=tied)
    assert outcomes([won, lost], 2).majority.tolist() == [1, 0]
