"""Constraints and certainty with a tiny model on the device."""

import re

import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.contract import (
    Constraint,
    Group,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
)
from model.engine.compilations import compilations
from tests.model.engine.doubles import Seen, drain
from tests.model.engine.test_parity import Loaded
from tests.model.logits import Logits

CONSTRAINTS = (
    Constraint(regex="[a-z]{2,12}"),
    Constraint(regex="(yes|no|maybe)"),
    Constraint(json_schema='{"type": "array", "items": {"type": "integer"}, "maxItems": 3}'),
    Constraint(lark='start: "(" start ")" | "x"'),
)


@pytest.fixture(scope="module", params=["off", "auto"], ids=["plain", "kernels"])
def loaded(request, parity_fixtures) -> Loaded:
    found = Loaded(parity_fixtures / "gemma3", kernels=request.param)
    found.runner.warm_up()
    return found


@pytest.fixture(scope="module")
def logits(parity_fixtures) -> Logits:
    return Logits(open_checkpoint(parity_fixtures / "gemma3"))


def path(index: int, constraint: Constraint | None, **sampling) -> PathRequest:
    fields = {"max_tokens": 24, "seed": index, "temperature": 0.9, **sampling}
    return PathRequest(index=index, sampling=SamplingParams(constraint=constraint, **fields))


def run(loaded: Loaded, *paths: PathRequest) -> Seen:
    prompt = Prompt.of_tokens([int(token) for token in loaded.expected["prompt_1"]])
    engine = loaded.engine()
    engine.handle(Submit(group=Group(id="g", prompt=prompt, paths=paths)))
    seen = Seen(drain(engine))
    assert not seen.failed
    return seen


def test_constraints_hold_compile_nothing_and_leave_free_rows_as_they_are(loaded):
    free = [path(i, None, ignore_eos=True) for i in range(2)]
    before = compilations()
    alone = [run(loaded, one).tokens["g", one.index] for one in free]
    steered = [path(2 + i, constraint) for i, constraint in enumerate(CONSTRAINTS)]
    seen = run(loaded, *free, *steered)
    assert compilations() == before
    assert [seen.tokens["g", one.index] for one in free] == alone
    texts = [seen.text["g", one.index] for one in steered]
    for one, said in zip(steered, texts, strict=True):
        if seen.finish["g", one.index].reason == "stop":
            wanted = (r"[a-z]{2,12}", r"yes|no|maybe", r"\[(-?\d+(, -?\d+)*)?\]", r"\(*x\)*")
            assert re.fullmatch(wanted[one.index - 2], said)
    assert texts[1] in ("yes", "no", "maybe")
    together = {one.index: seen.tokens["g", one.index] for one in steered}
    for one in steered:
        assert run(loaded, one).tokens["g", one.index] == together[one.index]


def test_a_constrained_path_goes_on_elsewhere_from_the_tokens_it_delivered(loaded):
    asked = path(3, Constraint(regex="[a-z]{20}"))
    whole = run(loaded, asked).tokens["g", 3]
    assert len(whole) > 3
    for count in range(1, len(whole)):
        rest = run(loaded, replace_generated(asked, whole[:count])).tokens["g", 3]
        assert whole[:count] + rest == whole


def replace_generated(asked: PathRequest, generated: tuple[int, ...]) -> PathRequest:
    return PathRequest(index=asked.index, sampling=asked.sampling, generated=generated)


def test_greedy_tokens_are_the_likeliest_that_are_allowed(loaded, logits):
    prompt = [int(token) for token in loaded.expected["prompt_1"]]
    digits = Constraint(regex="[0-9]{6}")
    tokens = run(loaded, path(0, digits, temperature=0.0)).tokens["g", 0]
    rows = logits.of([*prompt, *tokens])[len(prompt) - 1 :]
    tokenizer = loaded.engine()._text.tokenizer
    numbers = [t for t in range(rows.shape[-1]) if tokenizer.token_bytes(t).isdigit()]
    short = [t for t in numbers if len(tokenizer.token_bytes(t)) == 1]
    for place, token in enumerate(tokens[:-1]):
        assert token in numbers
        assert rows[place][token] >= rows[place][short].max() - 1e-3


def test_certainty_is_how_far_the_models_own_distribution_is_from_uniform(loaded, logits):
    prompt = [int(token) for token in loaded.expected["prompt_1"]]
    wishes = (
        {"certainty": True},
        {"certainty": True, "logprobs": 3, "logit_bias": ((5, 9.0),), "repetition_penalty": 1.5},
        {"logprobs": 1},
    )
    asked = [path(i, None, ignore_eos=True, **wish) for i, wish in enumerate(wishes)]
    before = compilations()
    seen = run(loaded, *asked)
    assert compilations() == before
    for one, wish in zip(asked, wishes, strict=True):
        tokens = seen.tokens["g", one.index]
        entries = [
            entry
            for event in seen.events
            if isinstance(event, PathOutput) and event.path == one.index
            for entry in event.logprobs
        ]
        assert [entry.id for entry in entries] == list(tokens)
        assert all(len(entry.top) == wish.get("logprobs", 0) for entry in entries)
        if "certainty" not in wish:
            assert all(entry.certainty is None for entry in entries)
            continue
        used = loaded.checkpoint.text.vocab_size
        exact = logits.of([*prompt, *tokens])[len(prompt) - 1 : -1].astype(np.float64)[:, :used]
        logp = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
        wanted = -logp.mean(-1) - np.log(used)
        assert (wanted > 0).all()
        assert [entry.certainty for entry in entries] == pytest.approx(wanted, abs=2e-3)


def test_a_path_with_a_constraint_has_certainty_too(loaded):
    seen = run(loaded, path(0, CONSTRAINTS[0], certainty=True))
    entries = [e for event in seen.events if isinstance(event, PathOutput) for e in event.logprobs]
    assert entries
    assert all(entry.certainty > 0 for entry in entries)
    assert seen.tokens["g", 0] == run(loaded, path(0, CONSTRAINTS[0])).tokens["g", 0]
