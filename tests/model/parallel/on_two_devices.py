"""Run in a process with two CPU devices: one model cut over both. Prints what became of it.

worst: largest error of a log-probability against transformers, as a part of the largest logit.
worst_mean: the same of a mean hidden state, as a part of its largest number.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from model.contract import Group, PathRequest, Prompt, SamplingParams, Submit
from model.nn.attention import attend
from tests.model.engine.doubles import Seen, drain
from tests.model.engine.test_hidden_states import embed, of_transformers
from tests.model.engine.test_parity import Loaded, top_logprobs


def main(fixture: Path, generate: bool) -> None:
    assert jax.device_count() == 2
    both = Loaded(fixture, kernels="auto", weights="auto", tensor_parallel=2)
    # The compiled kernels cannot be cut.
    assert both.runner._backend.attend is attend
    expected = both.expected
    tokens = [int(token) for token in (*expected["prompt_2"], *expected["continuation_2"])]
    if generate:
        both.runner.warm_up()
    found = top_logprobs(both, tokens, 16)
    logits = expected["logits_2"].astype(np.float64)
    peaks = logits.max(-1, keepdims=True)
    wanted = logits - peaks - np.log(np.exp(logits - peaks).sum(-1, keepdims=True))
    same = np.take_along_axis(wanted, found[..., 0].astype(int), axis=-1)
    layer, pages = both.runner.params.layers[0], both.runner._cache[0].k
    said = {
        "worst": float(np.abs(found[..., 1] - same).max() / np.abs(logits).max()),
        "gate_up": share(layer.gate_up),
        "qkv": share(layer.qkv),
        "pages": share(pages),
    }
    if generate:
        said["generated"] = generated(both)
        said["expected"] = [int(token) for token in expected["continuation_0"]][:8]
        mean, wanted = embed(both, tokens)[0], of_transformers(both, 2)
        said["worst_mean"] = float(np.abs(mean - wanted).max() / np.abs(wanted).max())
        said["compilations"] = both.runner.compilations_after_warmup
    print(json.dumps(said))


def share(array: jax.Array) -> float:
    """How much of it one device holds."""
    return array.addressable_shards[0].data.size / array.size


def generated(loaded: Loaded) -> list[int]:
    engine = loaded.engine()
    sampling = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True, logprobs=2)
    penalised = SamplingParams(max_tokens=8, ignore_eos=True, repetition_penalty=1.3)
    prompt = Prompt.of_tokens([int(token) for token in loaded.expected["prompt_0"]])
    samplings = (sampling, sampling, penalised)
    paths = tuple(PathRequest(index=i, sampling=each) for i, each in enumerate(samplings))
    engine.handle(Submit(group=Group(id="a", prompt=prompt, paths=paths)))
    # So many scores in a step that they are more than one group of wishes.
    long = Prompt.of_tokens([int(token) for token in loaded.expected["prompt_2"]] * 2)
    engine.handle(Submit(group=Group(id="b", prompt=long, paths=paths[:1], prompt_logprobs=3)))
    seen = Seen(drain(engine))
    assert seen.tokens["a", 0] == seen.tokens["a", 1]
    return list(seen.tokens["a", 0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), generate="generate" in sys.argv)
