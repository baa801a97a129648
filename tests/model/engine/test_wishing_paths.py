"""Wishes through the whole engine, steps ahead included, against logits of the same weights."""

import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.contract import (
    Group,
    PathOutput,
    PathRequest,
    Prompt,
    PromptScored,
    SamplingParams,
    Submit,
)
from model.engine.compilations import compilations
from tests.model.engine.doubles import Seen, drain
from tests.model.engine.test_parity import Loaded
from tests.model.engine.wishing import Story
from tests.model.logits import Logits

STEPS = 20

WISHES = [
    {},
    {"presence_penalty": 1.5},
    {"frequency_penalty": 0.8},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.8, "frequency_penalty": 1.5, "presence_penalty": -1.0},
    {"logit_bias": ((11, 3.0), (12, -100.0)), "repetition_penalty": 1.3},
    {"min_tokens": 8, "stop_ids": (3, 5), "presence_penalty": 2.0},
    {"logprobs": 5},
]


@pytest.fixture(scope="module")
def loaded(parity_fixtures) -> Loaded:
    found = Loaded(parity_fixtures / "llama")
    found.runner.warm_up()
    return found


@pytest.fixture(scope="module")
def logits(parity_fixtures) -> Logits:
    return Logits(open_checkpoint(parity_fixtures / "llama"))


def path(index: int, wish: dict, temperature: float = 0.0) -> PathRequest:
    sampling = SamplingParams(
        max_tokens=STEPS, temperature=temperature, seed=index, ignore_eos=True, **wish
    )
    return PathRequest(index=index, sampling=sampling)


def run(loaded: Loaded, *groups: Group) -> Seen:
    engine = loaded.engine()
    for group in groups:
        engine.handle(Submit(group=group))
    return Seen(drain(engine))


def prompt_of(loaded: Loaded) -> list[int]:
    return [int(token) for token in loaded.expected["prompt_1"]]


def test_greedy_paths_take_the_likeliest_token_of_their_adjusted_logits(loaded, logits):
    prompt = prompt_of(loaded)
    paths = tuple(path(i, wish) for i, wish in enumerate(WISHES))
    before = compilations()
    seen = run(loaded, Group(id="g", prompt=Prompt.of_tokens(prompt), paths=paths))
    assert compilations() == before
    assert not seen.failed
    for index, wish in enumerate(WISHES):
        tokens = seen.tokens["g", index]
        rows = logits.of([*prompt, *tokens])[len(prompt) - 1 :]
        for place, token in enumerate(tokens):
            story = Story(prompt, generated=tokens[:place], **wish)
            adjusted = story.adjusted(rows[place])
            # Nearly tied tokens may change places.
            assert adjusted[token] >= adjusted.max() - 1e-3, (wish, place)
    assert len({seen.tokens["g", i] for i in range(6)}) > 3, "the wishes change nothing here"


def test_a_path_is_the_same_alone_and_among_paths_with_wishes(loaded):
    prompt = Prompt.of_tokens(prompt_of(loaded))
    alone = {}
    for index, wish in enumerate(WISHES):
        only = Group(id="a", prompt=prompt, paths=(path(index, wish, temperature=0.9),))
        alone[index] = run(loaded, only).tokens["a", index]
    paths = tuple(path(i, wish, temperature=0.9) for i, wish in enumerate(WISHES))
    together = run(loaded, Group(id="b", prompt=prompt, paths=paths))
    assert {i: together.tokens["b", i] for i in alone} == alone


def test_a_penalised_path_goes_on_elsewhere_from_the_tokens_it_delivered(loaded):
    prompt = Prompt.of_tokens(prompt_of(loaded))
    asked = path(3, {"repetition_penalty": 1.6, "frequency_penalty": 0.4}, temperature=0.7)
    whole = run(loaded, Group(id="a", prompt=prompt, paths=(asked,))).tokens["a", 3]
    moved = PathRequest(index=3, sampling=asked.sampling, generated=whole[:7])
    rest = run(loaded, Group(id="b", prompt=prompt, paths=(moved,))).tokens["b", 3]
    assert whole[:7] + rest == whole


def test_alternatives_and_prompt_scores_are_the_models_own(loaded, logits):
    prompt = prompt_of(loaded)
    wish = {"logprobs": 3, "repetition_penalty": 1.8, "logit_bias": ((4, 50.0),)}
    asked = Group(
        id="g", prompt=Prompt.of_tokens(prompt), paths=(path(0, wish),), prompt_logprobs=2
    )
    seen = run(loaded, asked)
    tokens = seen.tokens["g", 0]
    assert 4 in tokens
    exact = logits.of([*prompt, *tokens]).astype(np.float64)
    exact -= np.log(np.exp(exact).sum(-1, keepdims=True))
    (scored,) = (event for event in seen.events if isinstance(event, PromptScored))
    sampled = [e for event in seen.events if isinstance(event, PathOutput) for e in event.logprobs]
    entries = [*scored.logprobs, *sampled]
    assert len(entries) == len(prompt) - 1 + STEPS
    for place, entry in enumerate(entries):
        best = exact[place].max()
        assert entry.logprob == pytest.approx(exact[place, entry.id], abs=1e-3)
        assert entry.top[0][1] == pytest.approx(best, abs=1e-3)
        assert len(entry.top) == (2 if place < len(prompt) - 1 else 3)
