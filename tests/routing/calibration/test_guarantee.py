"""The promise holds as often as it says, over thousands of calibrations; a naive one does not."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from routing.calibration.guarantee import (
    bound,
    fewest_routed,
    first_testable,
    learn_then_test,
    passed_in_sequence,
    rounded_up,
    statement,
)
from routing.calibration.statistics import upper_bound

K = 8
TRIALS = 4000
DELTA = 0.1
# Four standard errors of a rate of DELTA over TRIALS.
TOLERANCE = 4 * float(np.sqrt(DELTA * (1 - DELTA) / TRIALS))

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """votes: chance of 0 .. K votes for the winner; error: chance that it is wrong then."""

    votes: list[float]
    error: list[float]
    alpha: float
    questions: int = 400

    @property
    def chances(self) -> Floats:
        return np.array(self.votes) / sum(self.votes)

    def true_error(self) -> Floats:
        """[K]: at m = K, K - 1, ... 1."""
        routed = np.cumsum(self.chances[::-1])[:-1]
        return np.cumsum((self.chances * self.error)[::-1])[:-1] / routed

    def calibrations(self, seed: int) -> tuple[Ints, Ints]:
        """Majority-routed and wrong, [TRIALS, K] at m = K, K - 1, ... 1."""
        random = np.random.default_rng(seed)
        votes = random.multinomial(self.questions, self.chances, size=TRIALS)
        wrong = random.binomial(votes, self.error)
        return np.cumsum(votes[:, ::-1], axis=1)[:, :-1], np.cumsum(wrong[:, ::-1], axis=1)[:, :-1]


FALLING = [0.9, 0.8, 0.7, 0.5, 0.3, 0.15, 0.08, 0.04, 0.02]
# A few confident mistakes: unanimous answers are wrong more often than nearly unanimous ones.
UNEVEN = [0.9, 0.9, 0.6, 0.3, 0.1, 0.02, 0.02, 0.09, 0.14]
WORLDS = {
    "falling": World([1, 2, 3, 4, 5, 6, 8, 10, 20], FALLING, 0.1),
    "uneven": World([1, 2, 3, 4, 6, 9, 9, 6, 5], UNEVEN, 0.12),
    "few are routed": World([60, 20, 10, 4, 3, 2, 1, 1, 1], FALLING, 0.1),
    "tight": World([0, 0, 0, 0, 0, 0, 0, 0, 1], [0.101] * 9, 0.1),
    "hopeless": World([1, 2, 3, 4, 5, 6, 8, 10, 20], [0.4] * 9, 0.1),
}


def broken(world: World, passed: Ints) -> float:
    """How often the loosest of the passed thresholds has a true error above alpha."""
    chosen = world.true_error()[np.maximum(passed, 1) - 1]
    return float(((passed > 0) & (chosen > world.alpha)).mean())


@pytest.mark.parametrize("name", WORLDS)
def test_a_chosen_threshold_breaks_its_promise_no_more_often_than_delta(name: str) -> None:
    world = WORLDS[name]
    routed, errors = world.calibrations(seed=1)
    passed = passed_in_sequence(routed, errors, world.alpha, DELTA)
    assert broken(world, passed) <= DELTA + TOLERANCE


@pytest.mark.parametrize("name", ["falling", "few are routed", "tight"])
def test_choosing_by_the_observed_error_rate_breaks_it_more_often(name: str) -> None:
    """So the test above can fail."""
    world = WORLDS[name]
    routed, errors = world.calibrations(seed=1)
    observed = np.where(routed > 0, errors / np.maximum(routed, 1), 1.0)
    holds = observed <= world.alpha
    loosest = np.where(holds.any(axis=1), K - np.argmax(holds[:, ::-1], axis=1), 0)
    assert broken(world, loosest) > DELTA + TOLERANCE


def test_the_promise_is_not_kept_by_never_choosing() -> None:
    world = WORLDS["falling"]
    passed = passed_in_sequence(*world.calibrations(seed=2), world.alpha, DELTA)
    assert (passed >= 2).mean() > 0.9
    # And just above alpha it is wrong about as often as it may be.
    tight = WORLDS["tight"]
    assert broken(tight, passed_in_sequence(*tight.calibrations(seed=2), 0.1, DELTA)) > DELTA / 3


@pytest.mark.parametrize("name", WORLDS)
def test_the_bound_of_a_fixed_threshold_is_too_low_no_more_often_than_delta(name: str) -> None:
    world = WORLDS[name]
    routed, errors = world.calibrations(seed=3)
    for step in (0, 3):  # m = 8 and m = 5
        low = [
            upper_bound(e, n, 1 - DELTA) < world.true_error()[step]
            for e, n in zip(errors[:, step].tolist(), routed[:, step].tolist(), strict=True)
        ]
        assert np.mean(low) <= DELTA + TOLERANCE


def arrays(levels: dict[int, tuple[int, int]]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """levels: votes -> (questions, of these wrong)."""
    votes = np.concatenate([np.full(n, v) for v, (n, _) in levels.items()])
    wrong = np.concatenate([np.arange(n) < e for n, e in levels.values()])
    return votes, wrong


def test_the_sequence_ends_at_the_first_failure_even_if_looser_thresholds_look_better() -> None:
    votes, wrong = arrays({4: (100, 0), 3: (60, 15), 2: (2000, 0)})
    found = learn_then_test(votes, wrong, start=4, alpha=0.05)
    by_m = {b.m: b for b in found.bounds}
    assert found.m == 4
    assert by_m[3].upper > 0.05 > by_m[2].upper
    assert by_m[2].sequential == by_m[3].upper
    assert found.least_alpha == by_m[4].upper == upper_bound(0, 100)
    assert (by_m[3].routed, by_m[3].errors) == (160, 15)


def test_nothing_routed_at_the_start_certifies_nothing() -> None:
    votes, wrong = arrays({2: (500, 0)})
    found = learn_then_test(votes, wrong, start=4, alpha=0.05)
    assert (found.m, found.least_alpha) == (None, 1.0)
    # A start from other questions repairs that.
    start = first_testable(votes, 4, 0.05, 0.05)
    assert start == 2
    assert learn_then_test(votes, wrong, start, 0.05).m == 1


def test_a_test_passes_exactly_when_the_bound_is_at_most_alpha() -> None:
    for errors in range(12):
        votes, wrong = arrays({4: (150, errors)})
        found = bound(votes, wrong, 4)
        assert (learn_then_test(votes, wrong, 4, 0.06).m is not None) == (found.upper <= 0.06)


def test_fewer_than_59_answers_cannot_show_five_percent() -> None:
    assert fewest_routed(0.05, 0.05) == 59
    assert upper_bound(0, 59) <= 0.05 < upper_bound(0, 58)


def test_the_statement_never_promises_more_than_was_shown() -> None:
    assert rounded_up(0.0495) == "5.0"
    assert rounded_up(0.05) == "5.0"
    assert rounded_up(0.05001) == "5.1"
    assert statement(0.0312, 0.05) == (
        "Under i.i.d. traffic from the calibration distribution and this exact configuration, "
        "with confidence 95 %, the error rate among majority-routed answers is at most 3.2 %."
    )


@pytest.mark.parametrize(("alpha", "delta", "start"), [(0, 0.1, 4), (0.1, 1, 4), (0.1, 0.1, 0)])
def test_levels_out_of_range_are_refused(alpha: float, delta: float, start: int) -> None:
    votes, wrong = arrays({4: (10, 0)})
    with pytest.raises(ValueError):
        learn_then_test(votes, wrong, start, alpha, delta)
