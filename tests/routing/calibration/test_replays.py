"""Plans replayed: lossless ones change nothing, and each counts what it would have run."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.calibration.replays import LOSSLESS, PLANS, Replays, route_changed, summarise
from routing.records import BadRecord, RecordedPath, RecordedQuestion, replay
from routing.stopping import Verdict
from tests.routing.calibration.recorded import questions, record


def question(*paths: tuple[str | None, int], greedy: str | None) -> RecordedQuestion:
    return RecordedQuestion(
        id=1,
        answer=None,
        greedy=greedy,
        paths=tuple(RecordedPath(answer=answer, tokens=tokens) for answer, tokens in paths),
    )


@given(asked=st.lists(questions(6, 9), min_size=1, max_size=4), data=st.data())
@settings(max_examples=150, deadline=None)
def test_lossless_plans_change_no_answer_and_no_route(
    asked: list[RecordedQuestion], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, 6))
    m = data.draw(st.integers(1, k + 1))
    found = summarise(asked, k, m)
    assert found.keys() == set(PLANS)
    for name in LOSSLESS:
        assert (found[name].changed_answers, found[name].changed_routes) == (0, 0)
        assert found[name].mean_paths <= found["full"].mean_paths == k
        assert found[name].mean_tokens <= found["full"].mean_tokens
    assert found["throughput"] == found["greedy_first"]
    assert found["greedy_first"].mean_paths <= found["plain"].mean_paths


@given(asked=questions(6, 6), m=st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_remembered_verdicts_are_those_of_the_rules(asked: RecordedQuestion, m: int) -> None:
    replays = Replays(6, m)
    for again in range(2):  # the second time from memory
        found = replays.question(asked)
        for name, rule in (("plain", "plain"), ("greedy_first", "greedy_first"), ("full", "all")):
            direct = replay(asked, 6, m, rule)
            assert found[name].verdict == direct.verdict, again
            assert (found[name].paths, found[name].tokens) == (direct.used, direct.tokens)


def test_polls_that_differ_in_names_share_a_verdict_with_their_own_names() -> None:
    replays = Replays(3, 2)
    first = question(("x", 1), ("x", 1), ("y", 1), greedy="g")
    second = question(("p", 1), ("p", 1), ("q", 1), greedy="h")
    assert replays.question(first)["plain"].verdict == Verdict("majority", "x")
    assert replays.question(second)["plain"].verdict == Verdict("majority", "p")


def test_latency_counts_the_tokens_of_paths_that_were_cut_off() -> None:
    """The votes come at steps 2, 3, 3 and 3, b among the last by its index; the third a decides."""
    asked = question(("a", 9), ("a", 3), ("b", 3), ("a", 2), ("a", 3), greedy=None)
    found = Replays(5, 3).question(asked)
    assert found["latency"].verdict == Verdict("majority", "a")
    assert (found["latency"].paths, found["latency"].tokens) == (4, 3 + 3 + 3 + 2 + 3)
    assert (found["greedy_first"].paths, found["greedy_first"].tokens) == (4, 9 + 3 + 3 + 2)


def test_nothing_runs_where_no_path_can_matter() -> None:
    found = Replays(2, 3).question(question(("a", 5), ("a", 5), greedy="g"))
    for name in ("plain", "greedy_first", "throughput", "latency", "lossy"):
        assert (found[name].paths, found[name].tokens) == (0, 0)
    assert (found["full"].paths, found["full"].tokens) == (2, 10)


def test_the_lossy_plan_runs_less_and_more_so_for_a_larger_epsilon() -> None:
    asked = record(150, 24)
    careful, bold = (summarise(asked, 24, 13, epsilon)["lossy"] for epsilon in (0.01, 0.2))
    exact = summarise(asked, 24, 13, 0.0)
    assert bold.mean_paths < careful.mean_paths < exact["lossy"].mean_paths
    assert exact["lossy"] == exact["greedy_first"]
    assert careful.changed_answers <= bold.changed_answers


@pytest.mark.parametrize(
    ("verdict", "full", "changed"),
    [
        (Verdict("either", "a"), Verdict("majority", "a"), False),
        (Verdict("either", "a"), Verdict("greedy", "a"), False),
        (Verdict("greedy", "a"), Verdict("majority", "a"), True),
        (Verdict("majority", "a"), Verdict("greedy", "a"), True),
        (Verdict("either", "a"), Verdict("majority", "b"), True),
        (Verdict("greedy", None), Verdict("greedy", None), False),
    ],
)
def test_either_contradicts_no_route_as_long_as_the_answer_is_the_same(
    verdict: Any, full: Any, changed: bool
) -> None:
    assert route_changed(verdict, full) is changed


def test_too_few_paths_and_no_questions_are_refused() -> None:
    with pytest.raises(BadRecord, match="1 paths recorded, 2 asked"):
        summarise([question(("a", 1), greedy=None)], 2, 2)
    with pytest.raises(ValueError, match="no questions"):
        summarise([], 2, 2)
