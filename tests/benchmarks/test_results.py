"""Which run counts, and which way ratios and targets go."""

import pytest

from benchmarks import measurement as m
from benchmarks import workloads as w
from benchmarks.campaign import Campaign, Results
from benchmarks.measurement import Measurement, best, percentile
from benchmarks.report import as_json
from benchmarks.systems import llama_server, pollux
from benchmarks.systems.base import SystemFailed
from benchmarks.targets import TARGETS, Target
from benchmarks.workloads import Workload


class _Scripted:
    """Gives its figures in turn; None fails."""

    def __init__(self, name: str, against: str | None, rates: list[float | None]) -> None:
        self.name = name
        self.against = against
        self._rates = rates
        self.stopped = False

    def start(self) -> float:
        return 1.0

    def supports(self, workload: Workload) -> bool:
        return workload in (w.PATHS_SEEN, w.SAME_SEEN)

    def prepare(self, workload: Workload) -> None:
        pass

    def run(self, workload: Workload) -> Measurement:
        rate = self._rates.pop(0)
        if rate is None:
            raise SystemFailed(f"{self.name}: broke")
        return Measurement({m.TOTAL_RATE: rate, m.SECONDS: 2048 / rate})

    def pids(self) -> list[int]:
        return []

    def stop(self) -> None:
        self.stopped = True


def _campaign(*systems: _Scripted) -> Results:
    return Campaign(systems, [w.PATHS_SEEN, w.SAME_SEEN], lambda text: None, repeats=2).run()


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.99, 4), (0.01, 1)])
def test_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], share) == value


def test_the_largest_rate_and_the_smallest_time_count() -> None:
    runs = [Measurement({m.TOTAL_RATE: rate, m.FIRST_P50: rate}) for rate in (2.0, 3.0, 1.0)]
    assert best(runs, m.TOTAL_RATE).figures[m.TOTAL_RATE] == 3
    assert best(runs, m.FIRST_P50).figures[m.FIRST_P50] == 1


def test_ratios_say_how_many_times_as_good_pollux_is_for_rates_and_times() -> None:
    ours = _Scripted(pollux.NAME, None, [100.0, 200.0, 50.0, 50.0])
    theirs = _Scripted(llama_server.WHEEL, pollux.NAME, [40.0, 50.0, 80.0, 80.0])
    rows = as_json("t", _campaign(ours, theirs), [ours, theirs], [])["rows"]
    peer = next(row for row in rows if row["pollux_times_as_good"])
    assert peer["pollux_times_as_good"] == pytest.approx({m.TOTAL_RATE: 4.0, m.SECONDS: 4.0})


def test_the_peer_may_sample_one_prompt_in_its_better_way() -> None:
    ours = _Scripted(pollux.NAME, None, [100.0, 200.0, 50.0, 50.0])
    theirs = _Scripted(llama_server.WHEEL, pollux.NAME, [40.0, 50.0, 80.0, 80.0])
    assert TARGETS[0].reached(_campaign(ours, theirs)) == pytest.approx(2.5)


def test_a_system_that_breaks_is_named_and_the_others_go_on() -> None:
    broken = _Scripted("broken", None, [None, 10.0, 10.0])
    whole = _Scripted("whole", None, [20.0, 20.0, 20.0, 20.0])
    results = _campaign(broken, whole)
    assert results.failures == [f"{w.PATHS_SEEN.name}: broken: broke"]
    assert results.best(w.PATHS_SEEN, "broken") is None
    assert results.figure(w.SAME_SEEN, "broken", m.TOTAL_RATE) == 10
    assert len(results.runs[w.PATHS_SEEN.name, "whole"]) == 2
    assert broken.stopped
    assert whole.stopped


@pytest.mark.parametrize(("cores", "disturbed"), [((1.5, 0.1), None), ((1.5, 0.9), 0.9)])
def test_results_are_disturbed_when_no_run_of_a_figure_was_left_alone(
    cores: tuple[float, float], disturbed: float | None
) -> None:
    runs = [Measurement({m.TOTAL_RATE: 1.0}, other_cores=busy) for busy in cores]
    assert Results(runs={(w.ONE.name, pollux.NAME): runs}).disturbed == disturbed


@pytest.mark.parametrize(
    ("larger", "value", "verdict"),
    [(True, 1, "below"), (True, 2, "target"), (True, 4, "stretch"), (False, 9, "below")],
)
def test_verdicts_follow_the_direction_of_a_target(
    larger: bool, value: float, verdict: str
) -> None:
    goals = (2.0, 4.0) if larger else (4.0, 2.0)
    assert Target("t", *goals, lambda results: value, larger).verdict(value) == verdict
