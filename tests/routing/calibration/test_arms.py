"""Arms on hand-made records."""

import pytest

from routing.calibration.arms import ARMS, CannotJudge, trials
from routing.records import RecordedPath, RecordedQuestion


def question(
    votes: str, *, greedy: str | None = "g", answer: str | None = "a", **more: object
) -> RecordedQuestion:
    """One letter per path; a dot has no answer. A path has 10 tokens."""
    paths = tuple(RecordedPath(answer=None if v == "." else v, tokens=10) for v in votes)
    return RecordedQuestion(
        id="q", answer=answer, greedy=greedy, paths=paths, greedy_tokens=3, **more
    )


def correct(arm: str, recorded: RecordedQuestion, k: int, min_votes: int) -> float:
    (trial,) = trials(arm, [recorded], k, min_votes)
    return trial.correct


@pytest.mark.parametrize(
    ("votes", "greedy", "majority", "routed"),
    [
        ("aaab", "g", 1, 1),  # three of four
        ("aabc", "g", 1, 0),  # two are not enough
        ("aabc", "a", 1, 1),
        ("bbba", "a", 0, 0),  # a strong majority overrules a right greedy answer
        ("....", "a", 0, 1),
        ("ab", "b", 0, 0),  # the greedy answer wins a tie
    ],
)
def test_majority_and_routed(votes: str, greedy: str, majority: float, routed: float) -> None:
    recorded = question(votes, greedy=greedy)
    k = len(votes)
    assert correct("majority", recorded, k, 3 if k == 4 else 2) == majority
    assert correct("routed", recorded, k, 3 if k == 4 else 2) == routed


def test_an_arm_without_an_answer_is_invalid_and_wrong() -> None:
    (trial,) = trials("majority", [question("...")], 3, 2)
    assert (trial.correct, trial.invalid) == (0, 1)
    (greedy,) = trials("greedy", [question("aaa", greedy=None)], 3, 2)
    assert (greedy.correct, greedy.invalid) == (0, 1)


def test_a_single_path_counts_on_average() -> None:
    (trial,) = trials("path", [question("aab.")], 4, 3)
    assert (trial.correct, trial.invalid, trial.tokens) == (0.5, 0.25, 10)


def test_routed_pays_only_for_the_paths_that_it_needs() -> None:
    (routed,) = trials("routed", [question("aaaaaaaa", greedy="a")], 8, 5)
    (majority,) = trials("majority", [question("aaaaaaaa", greedy="a")], 8, 5)
    assert majority.tokens == 80
    assert routed.tokens == 3 + 4 * 10  # k - m + 1 = 4 paths


def test_only_the_first_k_paths_count() -> None:
    assert correct("majority", question("abbb"), 1, 1) == 1


def test_weight_overrules_number() -> None:
    paths = (
        RecordedPath(answer="a", tokens=1, mean_logprob=-0.1, group_confidence=9.0),
        RecordedPath(answer="b", tokens=1, mean_logprob=-3.0, group_confidence=1.0),
        RecordedPath(answer="b", tokens=1, mean_logprob=-3.0, group_confidence=1.0),
    )
    recorded = RecordedQuestion(id="q", answer="a", greedy="g", paths=paths)
    assert correct("routed", recorded, 3, 2) == 0
    assert correct("mean_logprob", recorded, 3, 2) == 1
    assert correct("group_confidence", recorded, 3, 2) == 1
    with pytest.raises(CannotJudge, match="self_certainty was not recorded"):
        trials("self_certainty", [recorded], 3, 2)


def test_equal_weights_are_the_exact_rule() -> None:
    for votes in ("aaab", "aabb", "aabc", "a..."):
        paths = tuple(
            RecordedPath(answer=None if v == "." else v, tokens=1, mean_logprob=-0.5) for v in votes
        )
        recorded = RecordedQuestion(id="q", answer="a", greedy="g", paths=paths)
        for min_votes in range(1, 6):
            assert correct("mean_logprob", recorded, 4, min_votes) == correct(
                "routed", recorded, 4, min_votes
            )


def test_questions_without_a_true_answer_are_not_judged() -> None:
    for arm in ("greedy", "majority", "routed"):
        assert trials(arm, [question("aaab", answer=None)], 4, 3) == []


@pytest.mark.parametrize("arm", ["cot", "majority"])
def test_what_the_recording_lacks_is_said(arm: str) -> None:
    assert arm in ARMS
    with pytest.raises(CannotJudge, match="question q: "):
        trials(arm, [question("aa")], 3, 2)
