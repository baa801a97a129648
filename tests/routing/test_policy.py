"""What a caller may ask, how refusals read, and what the response object holds."""

import json
from fractions import Fraction
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from routing.answers.specs import AutoAnswer, ChoiceAnswer, MarkerAnswer, NumberAnswer
from routing.decision import Decision, Reading, Samples
from routing.policy import RoutingPolicy


def parse(**fields: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate(fields)


def message(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        parse(**fields)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def test_defaults_are_sixteen_paths_and_more_than_six_tenths() -> None:
    policy = parse()
    assert (policy.k, policy.share, policy.threshold) == (16, 0.6, 10)
    assert policy.plan == "greedy_first"
    assert policy.answer == AutoAnswer()
    assert policy.temperature > 0


@pytest.mark.parametrize(
    ("tau", "exact"),
    [
        (0.29, Fraction(29, 100)),
        ("0.29", Fraction(29, 100)),
        (" .5 ", Fraction(1, 2)),
        ("2/3", Fraction(2, 3)),
        (0, Fraction(0)),
        (1, Fraction(1)),
        (1e-05, Fraction(1, 100000)),
        ("1e-30", Fraction(1, 10**30)),
    ],
)
def test_tau_is_the_number_that_was_written(tau: object, exact: Fraction) -> None:
    assert parse(k=10, tau=tau).tau == exact


def test_thresholds_of_every_hundredth_are_exact_through_the_policy() -> None:
    for k in range(1, 65):
        for hundredths in range(101):
            expected = hundredths * k // 100 + 1
            assert parse(k=k, tau=hundredths / 100).threshold == expected
            assert parse(k=k, tau=f"{hundredths / 100}").threshold == expected


@pytest.mark.parametrize(
    "tau",
    [
        *(-0.1, 1.1, float("nan"), float("inf"), True, [0.5], None.__class__),
        *("1.0001", "x", "", "1e999999999", "1e-999999999", "1/0", "3/2", "-1", "1e-40", "NaN"),
        "0." + "1" * 40,
    ],
)
def test_tau_outside_or_not_a_number_is_refused_in_one_line(tau: object) -> None:
    said = message(tau=tau)
    assert said.startswith("tau: Value error, tau ")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"k": 0}, "k: Input should be greater than or equal to 1"),
        ({"k": 65}, "k: Input should be less than or equal to 64"),
        ({"k": True}, "k: Input should be a valid integer"),
        ({"k": "16"}, "k: Input should be a valid integer"),
        ({"min_votes": 0}, "min_votes: Input should be greater than or equal to 1"),
        ({"minVotes": 0}, "min_votes: Input should be greater than or equal to 1"),
        ({"k": 4, "min_votes": 6}, ": Value error, min_votes must be at most k + 1 = 5"),
        ({"tau": 0.5, "min_votes": 3}, ": Value error, give tau or min_votes, not both"),
        ({"temperature": 0}, "temperature: Input should be greater than 0"),
        ({"temperature": float("nan")}, "temperature: Input should be "),
        ({"top_p": 0}, "top_p: Input should be greater than 0"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"seed": 2**63}, "seed: Input should be less than or equal to 9223372036854775807"),
        ({"plan": "fast"}, "plan: Input should be 'greedy_first', 'throughput', "),
        ({"epsilon": 0.1}, ": Value error, epsilon is for the plan lossy"),
        ({"plan": "lossy", "epsilon": 0}, "epsilon: Input should be greater than 0"),
        ({"plan": "lossy", "epsilon": 0.6}, "epsilon: Input should be less than or equal to 0.5"),
        (
            {"plan": "lossy", "on_disagreement": "abstain"},
            ": Value error, the plan lossy weighs a majority against the direct answer",
        ),
        (
            {"weighting": "mean_logprob", "plan": "latency"},
            ": Value error, weighting needs every path: leave the plan out, or let it be full",
        ),
        ({"weighting": "loudness"}, "weighting: Input should be 'mean_logprob', "),
        ({"on_disagreement": "shrug"}, "on_disagreement: Input should be 'greedy', 'abstain' or "),
        ({"budget": {"paths": 0}}, "budget.paths: Input should be greater than or equal to 1"),
        ({"budget": {"paths": 65}}, "budget.paths: Input should be less than or equal to 64"),
        ({"budget": {"tokens": 0}}, "budget.tokens: Input should be greater than or equal to 1"),
        ({"budget": {"tokens": 1.5}}, "budget.tokens: Input should be a valid integer"),
        ({"budget": {"deadline_s": 0}}, "budget.deadline_s: Input should be greater than 0"),
        ({"budget": {"deadlineS": 1e9}}, "budget.deadline_s: Input should be less than or equal"),
        (
            {"budget": {"deadline_s": float("nan")}},
            "budget.deadline_s: Input should be a finite number",
        ),
        ({"budget": {"money": 1}}, "budget.money: Extra inputs are not permitted"),
        ({"thresh": 1}, "thresh: Extra inputs are not permitted"),
        ({"answer": "color"}, "answer: Input tag 'color' found using 'type' does not match"),
        (
            {"answer": {"type": "marker", "pattern": "(a"}},
            "answer.marker.pattern: Value error, the pattern is not a valid RE2 expression: ",
        ),
        (
            {"answer": {"type": "marker", "pattern": "(((a{99}){99}){99})"}},
            "answer.marker.pattern: Value error, the pattern is not a valid RE2 expression: ",
        ),
        (
            {"answer": {"type": "marker", "pattern": "a" * 257}},
            "answer.marker.pattern: String should have at most 256 characters",
        ),
        (
            {"answer": {"type": "choice", "choices": ["A"]}},
            "answer.choice.choices: Value error, choices must be 2 to 26, got 1",
        ),
        (
            {"answer": {"type": "choice", "choices": ["yes", "Yes"]}},
            "answer.choice.choices: Value error, choices must differ",
        ),
        (
            {"answer": {"type": "choice", "choices": ["yes", " "]}},
            "answer.choice.choices: Value error, a choice must not be empty",
        ),
    ],
)
def test_refusals_say_where_and_what(fields: dict[str, Any], said: str) -> None:
    assert message(**fields).startswith(said)


def test_answers_are_named_or_described() -> None:
    assert parse(answer="number").answer == NumberAnswer()
    assert parse(answer="choice").answer == ChoiceAnswer()
    assert parse(answer="marker").answer == MarkerAnswer()
    listed = parse(answer={"type": "choice", "choices": ["yes", "no"]}).answer
    assert listed == ChoiceAnswer(choices={"yes": "", "no": ""})
    assert parse(answer={"type": "marker", "pattern": "#### (.+)"}).answer == MarkerAnswer(
        pattern="#### (.+)"
    )


def test_camel_case_names_work_too() -> None:
    policy = parse(k=8, minVotes=5, maxTokens=90, topP=0.5)
    assert (policy.threshold, policy.share) == (5, None)
    assert (policy.max_tokens, policy.top_p) == (90, 0.5)


def test_camel_case_names_of_everything_else() -> None:
    policy = parse(
        onDisagreement="abstain",
        includePaths=True,
        partMetadata=True,
        budget={"paths": 3, "tokens": 90, "deadlineS": 2.5},
    )
    assert (policy.on_disagreement, policy.include_paths) == ("abstain", True)
    assert policy.part_metadata
    assert policy.budget.model_dump() == {"paths": 3, "tokens": 90, "deadline_s": 2.5}


def test_all_is_another_name_for_full() -> None:
    assert parse(plan="all").plan == parse(plan="full").plan == "full"


def test_a_weighted_vote_runs_every_path() -> None:
    policy = parse(weighting="mean_logprob")
    assert policy.plan == "full"
    assert RoutingPolicy.model_validate_json(policy.model_dump_json()) == policy
    assert parse(weighting=None).plan == "greedy_first"


def test_the_share_of_a_number_of_votes_gives_that_number_again() -> None:
    for k in range(1, 65):
        for votes in range(1, k + 2):
            policy = parse(k=k, min_votes=votes)
            assert policy.threshold == votes
            assert policy.exact_share == Fraction(votes - 1, k)


def test_paths_of_a_budget_are_at_most_k() -> None:
    assert parse(k=8).most_paths == 8
    assert parse(k=8, budget={"paths": 5}).most_paths == 5
    assert parse(k=8, budget={"paths": 50}).most_paths == 8


def test_a_policy_never_changes_and_survives_json() -> None:
    policy = parse(k=8, tau="0.29", answer="number", seed=3)
    with pytest.raises(ValidationError, match="frozen"):
        policy.k = 9
    again = RoutingPolicy.model_validate_json(policy.model_dump_json())
    assert again == policy


def test_a_policy_has_a_schema_for_the_api_document() -> None:
    class Request(BaseModel):
        uncertainty_routing: RoutingPolicy

    schema = json.dumps(Request.model_json_schema())
    assert '"maximum": 64' in schema
    assert '"minVotes"' not in schema


def test_the_response_object_has_exactly_the_promised_fields() -> None:
    decision = Decision(
        route="majority",
        answer="4",
        consensus=(0.625, 1.0),
        votes={"4": 10},
        k=16,
        tau=0.6,
        min_votes=10,
        samples=Samples(run=10, stopped=2, saved=4, invalid=0),
    )
    assert json.loads(json.dumps(decision.to_response())) == {
        "route": "majority",
        "answer": "4",
        "consensus": [0.625, 1.0],
        "votes": {"4": 10},
        "k": 16,
        "tau": 0.6,
        "min_votes": 10,
        "samples": {"run": 10, "stopped": 2, "saved": 4, "invalid": 0},
        "limited_by": None,
        "calibration": None,
        "answer_type": "exact",
    }


def test_the_response_object_says_more_when_more_was_asked() -> None:
    reading = Reading(index=2, answer="4", status="ok", text="Answer: 4", tokens=2, finish="stop")
    decision = Decision(
        route="either",
        answer="4",
        consensus=(0.5, 0.5),
        votes={"4": 1},
        k=16,
        tau=0.6,
        min_votes=10,
        samples=Samples(run=2, stopped=0, saved=14, invalid=1),
        plan="lossy",
        on_disagreement="best_effort",
        voting="mean_logprob",
        limited_by="tokens",
        limited_to=2,
        lossy=0.05,
        weights={"4": 0.75},
        readings=(reading,),
        direct=None,
    )
    response = json.loads(json.dumps(decision.to_response()))
    more = {
        "plan": "lossy",
        "on_disagreement": "best_effort",
        "voting": "mean_logprob",
        "limited_by": "tokens",
        "limited_to": 2,
        "lossy": 0.05,
        "weights": {"4": 0.75},
        "direct": None,
        "paths": [
            {
                "index": 2,
                "answer": "4",
                "status": "ok",
                "text": "Answer: 4",
                "tokens": 2,
                "finish": "stop",
            }
        ],
    }
    assert {name: response[name] for name in more} == more
