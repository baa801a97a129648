"""Run by an interpreter that has transformers: MODEL THREADS. Nothing of ours.

Reads one JSON object a line, answers each with the seconds it took.
"""

import json
import random
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    path = Path(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    began = time.perf_counter()
    where = {"gguf_file": path.name} if path.is_file() else {}
    model = AutoModelForCausalLM.from_pretrained(
        path.parent if path.is_file() else path, dtype=torch.bfloat16, **where
    ).eval()
    _say(time.perf_counter() - began)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        _generate(model, asked)
        _say(time.perf_counter() - began)


@torch.inference_mode()
def _generate(model: torch.nn.Module, asked: dict[str, int]) -> None:
    """Different prompts are one batch of one length; paths of a prompt are its copies."""
    last = model.config.vocab_size - 1
    prompts = [
        [random.randint(10, last) for _ in range(asked["prompt"])] for _ in range(asked["requests"])
    ]
    given = torch.tensor(prompts)
    model.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=True,
        temperature=0.8,
        top_k=0,
        num_return_sequences=asked["paths"],
        min_new_tokens=asked["new"],
        max_new_tokens=asked["new"],
    )


def _say(seconds: float) -> None:
    print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
