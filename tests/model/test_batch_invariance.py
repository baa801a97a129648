"""The default model: who else is in the batch does not change a path, bit for bit."""

import pytest

from model.contract import Group, PathRequest, Prompt, SamplingParams
from model.engine.config import EngineConfig
from model.text.language import ChatMessage
from tests.model.host import Host

pytestmark = [pytest.mark.checkpoint, pytest.mark.timeout(600)]

CONFIG = EngineConfig(dtype="bfloat16", max_rows=16, context=512, prefill_chunk=64, kv_bytes=2**29)


def path(seed: int) -> PathRequest:
    sampling = SamplingParams(max_tokens=48, temperature=0.8, seed=seed, ignore_eos=True)
    return PathRequest(index=seed, sampling=sampling)


def test_the_same_seed_gives_the_same_path_alone_and_inside_a_full_batch(default_checkpoint):
    host = Host(default_checkpoint, CONFIG)
    host.worker.start()
    question = "Tom has 3 apples and buys 4 more. How many apples does he have?"
    prompt = Prompt.of_tokens(host.worker.text.encode_chat([ChatMessage("user", question)]))
    other = Prompt.of_tokens(host.worker.text.encode_text("Once upon a time there was a king"))

    alone = {}
    for seed in range(4):
        alone |= host.tokens([Group(id="g", prompt=prompt, paths=(path(seed),))])
    together = host.tokens(
        [
            Group(id="x", prompt=other, paths=tuple(path(seed) for seed in range(100, 108))),
            Group(id="g", prompt=prompt, paths=tuple(path(seed) for seed in range(8))),
        ]
    )
    host.worker.stop()
    assert {key: together[key] for key in alone} == alone
    assert len({tuple(tokens) for tokens in together.values()}) == 16
