"""What a group goes through, on a device that checks every page it reads and writes."""

import pytest

from model.contract import (
    Abort,
    Extend,
    GroupStarted,
    InvalidParameter,
    PathRequest,
    PromptScored,
    SamplingParams,
    Submit,
)
from tests.model.engine.doubles import (
    EOS,
    VOCAB,
    LetterTokenizer,
    Seen,
    drain,
    expected_tokens,
    group,
    make_engine,
)

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]


def run(engine, *commands) -> Seen:
    for command in commands:
        engine.handle(command)
    return Seen(drain(engine))


def test_paths_of_one_prompt_are_prefilled_once_and_each_is_what_its_seed_says():
    engine, _ = make_engine()
    asked = group("g", PROMPT, paths=4)
    seen = run(engine, Submit(group=asked))
    for path in asked.paths:
        assert seen.tokens["g", path.index] == expected_tokens(PROMPT, path)
    assert seen.closed == ["g"]
    # Every path computes the last position for itself: its first token is sampled there.
    assert engine.prefill_tokens == len(PROMPT) - 1


def test_pages_are_all_free_when_idle():
    engine, _ = make_engine()
    run(engine, *(Submit(group=group(f"g{i}", PROMPT, paths=3)) for i in range(5)))
    assert engine.scheduler.memory.used == 0


def test_a_path_is_the_same_alone_and_in_a_full_batch():
    engine, _ = make_engine()
    alone = run(engine, Submit(group=group("a", PROMPT, seed=7)))
    crowd = [Submit(group=group(f"x{i}", [i, i + 1, i + 2] * (i + 1), paths=2)) for i in range(4)]
    together = run(engine, *crowd, Submit(group=group("a", PROMPT, seed=7)))
    assert alone.tokens["a", 0] == together.tokens["a", 0]


def test_different_seeds_give_different_paths():
    engine, _ = make_engine()
    seen = run(engine, Submit(group=group("g", PROMPT, paths=8, max_tokens=12)))
    assert len(set(seen.tokens.values())) == 8


def test_aborting_one_path_frees_its_pages_by_the_next_step_and_leaves_the_others():
    engine, _ = make_engine()
    asked = group("g", PROMPT, paths=3, max_tokens=30, sampling={"ignore_eos": True})
    engine.handle(Submit(group=asked))
    for _ in range(6):
        engine.step()
    before = engine.scheduler.memory.used
    engine.handle(Abort(group_id="g", paths=(1,)))
    assert engine.scheduler.memory.used < before
    seen = Seen([*engine.take_events(), *drain(engine)])
    assert seen.finish["g", 1].reason == "abort"
    assert seen.finish["g", 0].reason == seen.finish["g", 2].reason == "length"
    assert engine.scheduler.memory.used == 0


@pytest.mark.parametrize("steps", range(7))
def test_aborting_a_group_at_any_time_ends_it_and_frees_everything(steps):
    engine, _ = make_engine(max_rows=2)
    engine.handle(Submit(group=group("g", PROMPT * 2, paths=3, max_tokens=20)))
    events = []
    for _ in range(steps):
        engine.step()
    engine.handle(Abort(group_id="g"))
    events += engine.take_events()
    seen = Seen(events)
    assert seen.closed == ["g"]
    assert {finish.reason for finish in seen.finish.values()} <= {"abort", "stop"}
    assert engine.scheduler.memory.used == 0
    # At most a step that was on its way; what it says of the group is nobody's any more.
    assert not drain(engine, limit=2)


def test_an_open_group_takes_more_paths_without_another_prefill():
    engine, _ = make_engine()
    engine.handle(Submit(group=group("g", PROMPT, paths=1, open=True)))
    first = Seen(drain(engine))
    assert not first.closed
    prefilled = engine.prefill_tokens
    late = PathRequest(index=5, sampling=SamplingParams(max_tokens=6, seed=99))
    seen = run(engine, Extend(group_id="g", paths=(late,)))
    assert seen.tokens["g", 5] == expected_tokens(PROMPT, late)
    assert engine.prefill_tokens == prefilled
    assert run(engine, Abort(group_id="g")).closed == ["g"]
    assert engine.scheduler.memory.used == 0


def test_a_path_goes_on_from_tokens_that_another_worker_delivered():
    engine, _ = make_engine()
    whole = group("a", PROMPT, max_tokens=12, sampling={"ignore_eos": True})
    tokens = run(engine, Submit(group=whole)).tokens["a", 0]
    for cut in (1, 5, 11):
        rest = PathRequest(index=0, sampling=whole.paths[0].sampling, generated=tokens[:cut])
        seen = run(
            engine,
            Submit(group=group("b", PROMPT, paths=0, open=True)),
            Extend(group_id="b", paths=(rest,)),
        )
        assert seen.tokens["b", 0] == tokens[cut:]
        run(engine, Abort(group_id="b"))


def test_paths_may_differ_in_suffix():
    engine, _ = make_engine()
    paths = tuple(
        PathRequest(index=i, suffix=suffix, sampling=SamplingParams(max_tokens=5, seed=1))
        for i, suffix in enumerate([(), (7,), (7, 8, 9), (7,) * 20])
    )
    engine.handle(Submit(group=group("g", PROMPT, paths=0, open=True)))
    seen = run(engine, Extend(group_id="g", paths=paths))
    for path in paths:
        assert seen.tokens["g", path.index] == expected_tokens(PROMPT, path)


@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_every_prompt_token_but_the_first_is_scored_in_order(max_tokens):
    engine, _ = make_engine()
    asked = group(
        "g", PROMPT, max_tokens=max_tokens, prompt_logprobs=0, sampling={"ignore_eos": True}
    )
    seen = run(engine, Submit(group=asked))
    (scored,) = [e for e in seen.events if isinstance(e, PromptScored)]
    assert [entry.id for entry in scored.logprobs] == PROMPT[1:]
    assert [entry.logprob for entry in scored.logprobs] == [-float(i) for i in range(1, 11)]
    assert seen.finish["g", 0].reason == "length"
    assert len(seen.tokens["g", 0]) == max_tokens


def test_stop_string_cuts_the_text_and_never_shows_its_beginning():
    engine, _ = make_engine()
    whole = run(
        engine, Submit(group=group("a", PROMPT, max_tokens=20, sampling={"ignore_eos": True}))
    )
    text = LetterTokenizer().decode(whole.tokens["a", 0])
    stop = text[5:8]
    seen = run(
        engine,
        Submit(
            group=group("b", PROMPT, max_tokens=20, sampling={"ignore_eos": True, "stop": (stop,)})
        ),
    )
    assert seen.text["b", 0] == text[: text.index(stop)]
    assert seen.finish["b", 0].reason == "stop"
    assert seen.finish["b", 0].matched == stop


@pytest.mark.parametrize("max_tokens", [0, 3])
def test_a_prompt_of_one_token_has_nothing_to_prefill_and_nothing_to_score(max_tokens):
    engine, _ = make_engine()
    asked = group("g", [5], max_tokens=max_tokens, prompt_logprobs=2)
    seen = run(engine, Submit(group=asked))
    (scored,) = [e for e in seen.events if isinstance(e, PromptScored)]
    assert scored.logprobs == ()
    assert seen.tokens["g", 0] == expected_tokens([5], asked.paths[0])
    assert seen.closed == ["g"]


@pytest.mark.parametrize("prompt", [PROMPT, [5]])
@pytest.mark.parametrize("fields", [{}, {"max_tokens": 0}, {"prompt_logprobs": 1}])
def test_events_begin_with_the_start_and_end_with_the_close(prompt, fields):
    engine, _ = make_engine()
    seen = run(engine, Submit(group=group("g", prompt, **fields)))
    assert isinstance(seen.events[0], GroupStarted)
    assert seen.events[0].prompt_tokens == len(prompt)
    assert seen.closed == [seen.events[-1].group_id]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (group("g", []), "prompt"),
        (group("g", [VOCAB]), "prompt"),
        (group("g", PROMPT, max_tokens=60), "max_tokens"),
        (group("g", [1] * 65), "prompt"),
        (group("g", PROMPT, paths=0), "paths"),
        (group("g", PROMPT, sampling={"stop_ids": (VOCAB,)}), "stop_token_ids"),
        (group("g", PROMPT, deadline_s=0.0), "deadline_s"),
    ],
)
def test_what_can_never_run_is_refused_with_the_parameter_named(asked, param):
    engine, _ = make_engine()
    seen = run(engine, Submit(group=asked))
    assert seen.failed["g"].code == "invalid"
    assert seen.failed["g"].param == param
    assert engine.scheduler.memory.used == 0


def test_a_full_queue_refuses_with_capacity():
    engine, _ = make_engine(queue=5)
    seen = run(
        engine, Submit(group=group("a", PROMPT, paths=4)), Submit(group=group("b", PROMPT, paths=4))
    )
    assert seen.failed["b"].code == "capacity"
    assert seen.closed == ["a"]


def test_a_passed_deadline_fails_the_group_and_frees_its_pages():
    engine, _ = make_engine()
    now = [0.0]
    engine.clock = lambda: now[0]
    engine.handle(Submit(group=group("g", PROMPT, max_tokens=30, deadline_s=5.0)))
    engine.step()
    now[0] = 5.0
    engine.expire()
    assert Seen(engine.take_events()).failed["g"].code == "deadline"
    assert engine.scheduler.memory.used == 0


def test_a_lone_request_runs_beside_a_group_that_wants_every_row():
    engine, runner = make_engine(max_rows=4, capacities=(128, 128))
    big = group("big", PROMPT, paths=12, max_tokens=20, sampling={"ignore_eos": True})
    engine.handle(Submit(group=big))
    for _ in range(10):
        engine.step()
    engine.handle(Submit(group=group("small", PROMPT, max_tokens=2)))
    seen = Seen([*engine.take_events(), *drain(engine)])
    order = [e.group_id for e in seen.events if getattr(e, "finish", None)]
    assert order.index("small") < 8
    assert runner.most_rows == 4


def test_min_tokens_holds_off_end_of_sequence():
    with pytest.raises(InvalidParameter):
        SamplingParams(max_tokens=2, min_tokens=3)
    # The device forbids the token; the host would not take it as an end either.
    from model.engine.stops import OutputText

    output = OutputText(SamplingParams(max_tokens=9, min_tokens=2), LetterTokenizer(), (EOS,))
    assert output.push(EOS)[1] is None
    assert output.push(5)[1] is None
    assert output.push(EOS)[1].reason == "stop"
