"""Paths under constraints through the whole engine: steps ahead, preemption, restarts, endings.

The double's model draws from what a mask allows. Every path must come out as the same path does
token by token, each known before the next.
"""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import (
    Abort,
    Constraint,
    Extend,
    Group,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
    TokenLogprob,
)
from model.engine import constraints
from tests.model.engine.doubles import (
    CONSTRAINTS,
    EOS,
    VOCAB,
    LetterTokenizer,
    Seen,
    drain,
    expected_tokens,
    group,
    guided_tokens,
    make_engine,
)

PROMPT = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
ids = LetterTokenizer().encode
text = LetterTokenizer().decode

CONSTRAINTS_TO_TRY = (
    Constraint(regex="[0-9]{1,3}"),
    Constraint(regex="(ab|ba){2,9}"),
    Constraint(lark='start: "x" start "y" | "z"'),
    Constraint(regex="[0-9]{2}", after="A", closing=tuple(ids("\nA")), reserve=6),
    Constraint(regex="[xyz]+", after="b", closing=(1,)),
    Constraint(regex="[k-o]{4}", after="A", closing=tuple(ids("zAk")), reserve=7),
    Constraint(regex="[0-9]{2}", after="Z"),
    # No grammar: the path is free again once the marker is there.
    Constraint(after="A", closing=tuple(ids("\nA")), reserve=6),
    Constraint(after="b", closing=(1,)),
    # No token for the second character: those paths get stuck.
    Constraint(regex="[a-m](!|[0-9])|[n-z]!"),
)


@cache
def grammar_of(constraint: Constraint):
    return CONSTRAINTS.compile(constraint).result()


def one(
    constraint: Constraint | None, generated: tuple[int, ...] = (), index=0, **sampling
) -> Group:
    params = SamplingParams(**{"max_tokens": 12, "constraint": constraint, **sampling})
    path = PathRequest(index=index, sampling=params, generated=generated)
    return Group(id="g", prompt=Prompt.of_tokens(PROMPT), paths=(path,))


def run(*groups: Group, **engine_fields) -> Seen:
    engine, _ = make_engine(**engine_fields)
    for asked in groups:
        engine.handle(Submit(group=asked))
    seen = Seen(drain(engine))
    assert engine.scheduler.memory.used == 0
    return seen


@pytest.mark.parametrize("constraint", CONSTRAINTS_TO_TRY)
@pytest.mark.parametrize("sampling", [{}, {"ignore_eos": True}, {"stop": ("c", "n")}])
def test_a_path_is_what_it_is_token_by_token(constraint, sampling):
    for seed in range(12):
        asked = one(constraint, seed=seed, **sampling)
        seen = run(asked)
        tokens, reason = guided_tokens(PROMPT, asked.paths[0], grammar_of(constraint))
        assert seen.tokens["g", 0] == tokens
        assert seen.finish["g", 0].reason == reason


@pytest.mark.parametrize("constraint", CONSTRAINTS_TO_TRY)
def test_a_path_goes_on_elsewhere_from_any_event_that_was_delivered(constraint):
    for seed in range(4):
        asked = one(constraint, seed=seed)
        engine, _ = make_engine()
        engine.handle(Submit(group=asked))
        events = [event for event in drain(engine) if isinstance(event, PathOutput)]
        whole = [token for event in events for token in event.tokens]
        said = "".join(event.text for event in events)
        delivered: list[int] = []
        heard = ""
        for event in events[:-1]:
            delivered += event.tokens
            heard += event.text
            rest = run(one(constraint, tuple(delivered), seed=seed))
            assert delivered + list(rest.tokens["g", 0]) == whole
            assert heard + rest.text["g", 0] == said
            assert rest.finish["g", 0] == events[-1].finish


@st.composite
def mixed_groups(draw, name: str):
    prompt = [1] * draw(st.integers(0, 12)) + draw(
        st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=8)
    )
    paths = tuple(
        PathRequest(
            index=index,
            sampling=SamplingParams(
                max_tokens=draw(st.integers(1, 16)),
                seed=draw(st.integers(0, 2**40)),
                ignore_eos=draw(st.booleans()),
                stop=draw(st.sampled_from([(), ("q",)])),
                constraint=draw(st.none() | st.sampled_from(CONSTRAINTS_TO_TRY)),
            ),
        )
        for index in range(draw(st.integers(1, 4)))
    )
    return Group(id=name, prompt=Prompt.of_tokens(prompt), paths=paths)


@given(
    groups=st.integers(1, 4).flatmap(
        lambda n: st.tuples(*(mixed_groups(f"g{i}") for i in range(n)))
    ),
    memory=st.tuples(st.integers(13, 40), st.integers(12, 40), st.sampled_from([3, 4, 7, 9])),
    step=st.tuples(st.integers(1, 4), st.sampled_from([0, 1, 5]), st.integers(1, 3)),
    pauses=st.lists(st.integers(0, 6), min_size=4, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_any_mix_with_too_few_pages_gives_every_path_its_own_tokens(groups, memory, step, pauses):
    engine, _ = make_engine(
        windows=(None, memory[2]),
        capacities=memory[:2],
        max_rows=step[0],
        prefill_chunk=6,
        busy_chunk=step[1],
        prompts=step[2],
        context=40,
    )
    for asked, pause in zip(groups, pauses, strict=False):
        engine.handle(Submit(group=asked))
        for _ in range(pause):
            engine.step()
    seen = Seen(drain(engine))
    assert engine.scheduler.memory.used == 0
    assert not seen.failed
    for asked in groups:
        prompt = asked.prompt.token_ids()
        for path in asked.paths:
            key, sampling = (asked.id, path.index), path.sampling
            if sampling.constraint is not None:
                wanted, reason = guided_tokens(prompt, path, grammar_of(sampling.constraint))
                assert seen.tokens[key] == wanted
                assert seen.finish[key].reason == reason
            elif not sampling.stop:
                assert seen.tokens[key] == expected_tokens(prompt, path)


def test_a_whole_regex_ends_its_path_with_stop():
    constraint = Constraint(regex="[0-9]{3}")
    for seed in range(5):
        seen = run(one(constraint, seed=seed, max_tokens=3))
        assert seen.text["g", 0].isdigit()
        assert len(seen.text["g", 0]) == 3
        assert seen.finish["g", 0].reason == "stop"


def test_too_few_tokens_for_the_constraint_end_with_length():
    seen = run(one(Constraint(regex="[0-9]{3}"), max_tokens=2))
    assert len(seen.text["g", 0]) == 2
    assert seen.finish["g", 0].reason == "length"


def test_min_tokens_and_ignore_eos_do_not_keep_a_complete_path_from_ending():
    constraint = Constraint(regex="[0-9]{2}")
    seen = run(one(constraint, min_tokens=9, ignore_eos=True))
    assert len(seen.tokens["g", 0]) == 2
    assert seen.finish["g", 0].reason == "stop"


def test_a_stop_id_may_end_the_text_only_where_the_constraint_lets_it():
    constraint = Constraint(regex="[0-9]{2,9}")
    stop = ids("a")[0]
    ends = set()
    for seed in range(60):
        seen = run(one(constraint, seed=seed, stop_ids=(stop,), ignore_eos=True))
        tokens, said = seen.tokens["g", 0], seen.text["g", 0]
        assert said.isdigit()
        assert 2 <= len(said) <= 9
        ends.add(tokens[-1] == stop)
        if tokens[-1] == stop:
            assert seen.finish["g", 0].matched == stop
    assert ends == {True, False}


def free_seed(ends_with: int) -> tuple[int, tuple[int, ...]]:
    """A seed whose free path samples an end after a few tokens, and what came before that."""
    for seed in range(1000):
        tokens = expected_tokens(PROMPT, one(None, seed=seed, max_tokens=20).paths[0])
        if tokens[-1] == ends_with and 3 < len(tokens) < 12 and ids("A")[0] not in tokens:
            return seed, tokens[:-1]
    raise AssertionError("no such seed")


CLOSING = Constraint(regex="[0-9]{2}", after="A", closing=tuple(ids("\nA")))


def test_an_end_before_the_marker_gives_way_to_the_closing():
    seed, free = free_seed(EOS)
    seen = run(one(CLOSING, seed=seed, max_tokens=20))
    said = seen.text["g", 0]
    assert seen.tokens["g", 0][: len(free) + 2] == (*free, *CLOSING.closing)
    assert said[:-2] == text(free) + "\nA"
    assert said[-2:].isdigit()
    assert seen.finish["g", 0].reason == "stop"


def test_a_stop_string_before_the_marker_gives_way_to_the_closing():
    seed, free = free_seed(EOS)
    stop = text(free[-2:])
    seen = run(one(CLOSING, seed=seed, max_tokens=20, stop=(stop,)))
    cut = text(free).index(stop) + 1
    assert seen.text["g", 0][:-2] == text(free)[:cut] + "\nA"
    assert seen.finish["g", 0].matched is None


def test_without_a_closing_a_free_path_ends_as_others_do():
    seed, free = free_seed(EOS)
    bare = Constraint(regex="[0-9]{2}", after="A")
    seen = run(one(bare, seed=seed, max_tokens=20))
    assert seen.tokens["g", 0] == (*free, EOS)


def test_the_reserve_is_kept_for_closing_and_answer():
    seed, free = free_seed(EOS)
    constraint = Constraint(regex="[0-9]{2}", after="A", closing=tuple(ids("\nA")), reserve=4)
    most = len(free) + 2  # The end that it would sample comes too late.
    seen = run(one(constraint, seed=seed, max_tokens=most))
    said = seen.text["g", 0]
    assert said[:-2] == text(free[: most - 4]) + "\nA"
    assert said[-2:].isdigit()
    assert len(seen.tokens["g", 0]) == most
    assert seen.finish["g", 0].reason == "stop"


def test_a_reserve_beyond_max_tokens_closes_after_the_first_token():
    constraint = Constraint(regex="[0-9]{2}", after="A", closing=tuple(ids("\nA")), reserve=50)
    seen = run(one(constraint, max_tokens=6))
    assert seen.text["g", 0][1:3] == "\nA"
    assert seen.finish["g", 0].reason == "stop"


def test_tokens_that_were_put_in_have_logprob_zero():
    seed, free = free_seed(EOS)
    engine, _ = make_engine()
    engine.handle(Submit(group=one(CLOSING, seed=seed, max_tokens=20, logprobs=0)))
    said = [entry for e in drain(engine) if isinstance(e, PathOutput) for entry in e.logprobs]
    assert [entry.logprob for entry in said] == [-1.0] * len(free) + [0.0, 0.0, -1.0, -1.0]
    assert said[len(free)] == TokenLogprob(id=CLOSING.closing[0], logprob=0.0)


def test_free_rows_beside_steered_ones_run_in_every_step():
    counts = []
    for constraint in (None, Constraint(regex="[0-9]{12}")):
        engine, _ = make_engine(max_rows=4)
        free = one(None, ignore_eos=True)
        other = SamplingParams(max_tokens=12, seed=5, ignore_eos=True, constraint=constraint)
        paths = (*free.paths, PathRequest(index=1, sampling=other))
        engine.handle(Submit(group=Group(id="g", prompt=free.prompt, paths=paths)))
        if constraint is not None:
            grammar_of(constraint)
        steps, ended = 0, False
        while not ended:
            engine.step()
            steps += 1
            ended = any(
                event.path == 0 and event.finish is not None
                for event in engine.take_events()
                if isinstance(event, PathOutput)
            )
        counts.append(steps)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint(regex="(a"),
        Constraint(regex="!a"),
        Constraint(lark="start: nothing"),
        Constraint(json_schema="{"),
        Constraint(json_schema='{"type": "nonsense"}'),
        Constraint(regex="a", after="A", closing=(3,)),
        Constraint(regex="a", after="A", closing=tuple(ids("Ab"))),
    ],
    ids=["regex", "vocabulary", "lark", "JSON", "schema", "no marker", "closing goes on"],
)
def test_a_constraint_that_cannot_work_fails_the_group_before_any_token(constraint):
    good = one(None).paths[0].sampling
    bad = PathRequest(index=1, sampling=SamplingParams(max_tokens=4, constraint=constraint))
    asked = Group(
        id="g",
        prompt=Prompt.of_tokens(PROMPT),
        paths=(PathRequest(index=0, sampling=good), bad),
    )
    seen = run(asked)
    assert seen.failed["g"].code == "invalid"
    assert seen.failed["g"].param == "constraint"
    assert "\n" not in seen.failed["g"].message
    assert len(seen.failed["g"].message) < 300
    assert not seen.tokens
    late = make_engine()[0]
    late.handle(Submit(group=group("g", PROMPT, open=True)))
    late.handle(Extend(group_id="g", paths=(bad,)))
    assert Seen(drain(late)).failed["g"].param == "constraint"


def test_generated_tokens_that_break_the_constraint_fail_the_group():
    seen = run(one(Constraint(regex="[0-9]{2}"), tuple(ids("x"))))
    assert seen.failed["g"].param == "constraint"


def test_a_path_that_had_all_its_text_before_ends_at_once():
    seen = run(one(Constraint(regex="[0-9]{2}"), tuple(ids("42"))))
    assert seen.finish["g", 0].reason == "stop"
    assert seen.closed == ["g"]


def test_closing_ids_must_be_tokens():
    seen = run(one(Constraint(regex="a", after="A", closing=(VOCAB,))))
    assert (seen.failed["g"].code, seen.failed["g"].param) == ("invalid", "constraint")


def test_a_group_can_be_aborted_while_its_grammar_is_compiled():
    engine, _ = make_engine()
    engine.handle(Submit(group=one(Constraint(regex="abort(ed)?"))))
    engine.handle(Abort(group_id="g"))
    seen = Seen(drain(engine))
    assert seen.closed == ["g"]
    assert seen.finish["g", 0].reason == "abort"
    assert engine.scheduler.memory.used == 0


def test_a_grammar_that_takes_too_much_on_the_way_fails_its_group_and_no_other():
    heavy = Constraint(lark='start: "a" ' + '"b"? "c"? ' * 1100)
    other = Group(id="other", prompt=Prompt.of_tokens(PROMPT), paths=one(None).paths)
    seen = run(one(heavy), other)
    assert seen.failed.keys() == {"g"}
    assert (seen.failed["g"].code, seen.failed["g"].param) == ("invalid", "constraint")
    assert seen.failed["g"].message.startswith("the grammar takes too much: ")
    assert seen.tokens["other", 0] == expected_tokens(PROMPT, other.paths[0])


def test_when_many_grammars_wait_the_next_is_refused(monkeypatch):
    monkeypatch.setattr(constraints, "_MOST_WAITING", 0)
    assert run(one(Constraint(regex="full(er)?"))).failed["g"].code == "capacity"
    assert run(one(None)).closed == ["g"]


def test_paths_of_one_group_share_a_grammar_those_added_later_too():
    engine, _ = make_engine()
    constraint = Constraint(regex="[0-9]{1,3}")
    first = one(constraint).paths[0]
    late = PathRequest(index=1, sampling=first.sampling)
    asked = Group(id="g", prompt=Prompt.of_tokens(PROMPT), paths=(first,), open=True)
    engine.handle(Submit(group=asked))
    engine.handle(Extend(group_id="g", paths=(late,)))
    state = engine.scheduler.groups["g"]
    assert state.grammars[0] is state.grammars[1]
    seen = Seen(drain(engine))
    assert seen.tokens["g", 0] == seen.tokens["g", 1]


def test_a_worker_that_cannot_compile_says_so_and_tries_again_for_the_next(monkeypatch):
    def broken(kind: str, text: str) -> None:
        raise OSError("no more processes")

    asked = one(Constraint(regex="broken"))
    with monkeypatch.context() as patch:
        patch.setattr(constraints, "try_out", broken)
        failed = run(asked).failed["g"]
    assert failed.code == "internal"
    assert "processes" not in failed.message
    assert run(asked).text["g", 0] == "broken"
