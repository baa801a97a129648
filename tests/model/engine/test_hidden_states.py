"""Embeddings of real weights against the hidden states that transformers must have had.

The fixtures hold its logits; the output head has more rows than columns, so the hidden states
behind them follow by least squares.
"""

import numpy as np
import pytest

from model.contract import Group, GroupFailed, PathRequest, Prompt, PromptEmbedded, Submit
from model.contract import SamplingParams as Sampling
from tests.model.engine.doubles import Seen, drain
from tests.model.engine.test_parity import FAMILIES, Loaded

PLAIN = {"kernels": "off", "weights": "native"}
EIGHT = {"kernels": "auto", "weights": "int8"}
FOUR = {"kernels": "auto", "weights": "int4"}


def packed(fields: dict) -> bool:
    return fields["weights"] != "native"


@pytest.fixture(scope="module", params=FAMILIES)
def plain(request, parity_fixtures) -> Loaded:
    return Loaded(parity_fixtures / request.param, **PLAIN)


def texts(loaded: Loaded) -> list[list[int]]:
    return [
        [int(t) for t in (*loaded.expected[f"prompt_{i}"], *loaded.expected[f"continuation_{i}"])]
        for i in range(4)
    ]


def embed(loaded: Loaded, *prompts: list[int], beside: Group | None = None) -> list[np.ndarray]:
    engine = loaded.engine()
    if beside is not None:
        engine.handle(Submit(group=beside))
        engine.step()
        engine.step()
    for at, prompt in enumerate(prompts):
        asked = Group(id=str(at), prompt=Prompt.of_tokens(prompt), paths=(), embed=True)
        engine.handle(Submit(group=asked))
    events = drain(engine)
    assert not [event for event in events if isinstance(event, GroupFailed)]
    found = {e.group_id: e.values for e in events if isinstance(e, PromptEmbedded)}
    assert loaded.memory.used == 0
    return [np.frombuffer(found[str(at)], "<f4") for at in range(len(prompts))]


def of_transformers(loaded: Loaded, index: int) -> np.ndarray:
    """The mean over positions of the last hidden state, [D]."""
    name = "embed" if loaded.checkpoint.spec.tied_head else "head"
    head = np.asarray(loaded.checkpoint.tensor(name), np.float64)
    assert head.shape[0] > head.shape[1]
    logits = loaded.expected[f"logits_{index}"].astype(np.float64)
    cap = loaded.checkpoint.spec.logit_cap
    if cap is not None:
        logits = cap * np.arctanh(logits / cap)
    states, *_ = np.linalg.lstsq(head, logits.T, rcond=None)
    # Every one of them explains its logits, so this is not just the nearest fit.
    assert np.abs(head @ states - logits.T).max() <= 1e-5 * np.abs(logits).max()
    return states.mean(axis=1)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_means_are_those_of_transformers(plain):
    for index, (prompt, found) in enumerate(
        zip(texts(plain), embed(plain, *texts(plain)), strict=True)
    ):
        assert len(prompt) == len(plain.expected[f"logits_{index}"])
        wanted = of_transformers(plain, index)
        assert found.dtype == np.dtype("<f4")
        assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_neighbours_change_nothing_that_matters(plain):
    """Plain JAX rounds products of other sizes otherwise: the last bits may differ, no more."""
    prompts = texts(plain)
    together = embed(plain, *prompts, [5], prompts[0][:3])
    for prompt, found in zip(prompts, together, strict=False):
        (alone,) = embed(plain, prompt)
        assert np.abs(found - alone).max() <= 1e-5 * np.abs(alone).max()


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize(("formats", "least"), [(EIGHT, 0.999), (FOUR, 0.9)], ids=["int8", "int4"])
def test_packed_weights_give_nearly_the_same_means(family, formats, least, parity_fixtures):
    loaded = Loaded(parity_fixtures / family, **formats)
    assert loaded.runner.choices.weights == formats["weights"]
    for index, found in enumerate(embed(loaded, *texts(loaded))):
        assert cosine(found, of_transformers(loaded, index)) >= least


@pytest.mark.parametrize("formats", [EIGHT, FOUR], ids=["int8", "int4"])
def test_with_the_compiled_kernels_neighbours_and_chunks_change_no_bit(formats, parity_fixtures):
    loaded = Loaded(parity_fixtures / "llama", **formats)
    prompts = texts(loaded)
    alone = [embed(loaded, prompt)[0] for prompt in prompts]
    path = PathRequest(index=0, sampling=Sampling(max_tokens=40, ignore_eos=True))
    beside = Group(id="beside", prompt=Prompt.of_tokens(prompts[1]), paths=(path,))
    for found in (embed(loaded, [7, 8], *prompts)[1:], embed(loaded, *prompts, beside=beside)):
        for one, other in zip(alone, found, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("formats", [PLAIN, EIGHT], ids=["plain", "packed"])
def test_after_warm_up_nothing_is_compiled_and_paths_stay_as_they_are(formats, parity_fixtures):
    loaded = Loaded(parity_fixtures / "gemma3", **formats)
    loaded.runner.warm_up()
    prompts = texts(loaded)
    path = PathRequest(index=0, sampling=Sampling(max_tokens=24, seed=3, ignore_eos=True))
    asked = Group(id="path", prompt=Prompt.of_tokens(prompts[0]), paths=(path,))
    engine = loaded.engine()
    engine.handle(Submit(group=asked))
    alone = Seen(drain(engine)).tokens
    for at, prompt in enumerate([*prompts, [5], prompts[0][:16], prompts[1][:17]]):
        group = Group(id=str(at), prompt=Prompt.of_tokens(prompt), paths=(), embed=True)
        engine.handle(Submit(group=group))
    engine.handle(Submit(group=asked))
    assert Seen(drain(engine)).tokens == alone
    assert loaded.runner.compilations_after_warmup == 0
