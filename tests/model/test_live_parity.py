"""Real checkpoints against transformers, live (`make parity`).

Greedy continuations come from transformers; both sides then score the same tokens, so that one
nearly tied choice does not hide the rest. More checkpoints: POLLUX_PARITY_GGUF, a list of paths
separated by colons.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import resolve
from model.text.language import TextModel
from tests.model.logits import Logits

pytestmark = [pytest.mark.parity, pytest.mark.timeout(1800)]

EXTRA = [path for path in os.environ.get("POLLUX_PARITY_GGUF", "").split(":") if path]
MODELS = ["smollm2-135m-instruct", "gemma-3-270m", *EXTRA]
CONTINUATION = 32
PROMPTS = {
    "english": "The capital of France is",
    "languages": "Die Katze schläft. Le chat dort. 猫は眠っている。Кошка спит. القطة نائمة.",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "spaces": "name      age     city\nAnna      31      Oslo\nBen  \t     7       ",
    "beyond the window": "The quick brown fox jumps over the lazy dog. " * 60,
}


class Pair:
    """The same file in Pollux and in transformers, both float32."""

    def __init__(self, name: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        path = resolve(name).path
        checkpoint = open_checkpoint(Path(path))
        self.text = TextModel(checkpoint.text)
        self.ours = Logits(checkpoint)
        self.theirs = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def continuation(self, tokens: list[int]) -> list[int]:
        import torch

        with torch.no_grad():
            out = self.theirs.generate(
                torch.tensor([tokens]),
                do_sample=False,
                min_new_tokens=CONTINUATION,
                max_new_tokens=CONTINUATION,
            )
        return out[0, len(tokens) :].tolist()

    def logits(self, tokens: list[int]) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self.theirs(torch.tensor([tokens])).logits[0].numpy()


@pytest.fixture(scope="module", params=MODELS, ids=lambda name: Path(name).name)
def pair(request) -> Pair:
    return Pair(request.param)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_logits_and_greedy_tokens_are_those_of_transformers(pair, prompt):
    tokens = list(pair.text.encode_text(PROMPTS[prompt]))
    if prompt == "beyond the window":
        assert len(tokens) > 600
    tokens += pair.continuation(tokens)
    wanted, found = pair.logits(tokens), pair.ours.of(tokens)
    relative = np.abs(found - wanted).max() / np.abs(wanted).max()
    print(f"{prompt}: {len(tokens)} tokens, largest relative difference {relative:.1e}")
    assert relative <= 1e-3
    order = np.sort(wanted, axis=-1)
    clear = order[:, -1] - order[:, -2] > 1e-2
    assert clear.mean() > 0.5
    assert (found.argmax(-1) == wanted.argmax(-1))[clear].all()
