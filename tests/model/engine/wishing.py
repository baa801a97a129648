"""Paths that wish for something, and float64 references of what they should get."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from model.contract import Group, PathRequest, Prompt, SamplingParams
from model.engine.pages import BlockTables
from model.engine.plan import Chunk, Output
from model.engine.sequences import GroupState, Path, Trunk
from model.engine.stops import OutputText
from tests.model.engine.doubles import LetterText

UNKNOWN = 0
"""Stands where a token has been sampled that the host has not seen. A real id, and a wrong one."""


class Story:
    """One path, token by token: what it holds, and what the host knows of that."""

    def __init__(
        self,
        prompt: Sequence[int],
        suffix: Sequence[int] = (),
        generated: Sequence[int] = (),
        **sampling,
    ) -> None:
        params = SamplingParams(**{"max_tokens": 1000, "ignore_eos": True, **sampling})
        request = PathRequest(
            index=0, sampling=params, suffix=tuple(suffix), generated=tuple(generated)
        )
        asked = Group(id="g", prompt=Prompt.of_tokens(prompt), paths=(request,))
        trunk = Trunk(tokens=list(prompt), tables=BlockTables.empty(1))
        state = GroupState(
            group=asked, trunk=trunk, arrival=0, submitted_at=0.0, deadline=None, open=False
        )
        self.sampling = params
        self.held = [*prompt, *suffix]
        self.generated = list(generated)
        self.path = Path(
            tokens=[*self.held, *generated],
            tables=BlockTables.empty(1),
            request=request,
            output=OutputText(params, LetterText().tokenizer, (), ()),
            group=state,
        )

    @property
    def newest(self) -> int:
        return [*self.held, *self.generated][-1]

    def output(self) -> Output:
        """Where the next token is sampled."""
        at = len(self.path.tokens) - 1
        return Output(Chunk(self.path, at, 1), 0, path=self.path)

    def goes_on(self, token: int) -> None:
        """A token is sampled; the host learns it one step later."""
        if self.generated and self.path.tokens[-1] == UNKNOWN:
            self.path.tokens[-1] = self.generated[-1]
        self.generated.append(token)
        self.path.tokens.append(UNKNOWN)

    def adjusted(
        self, logits: np.ndarray, eos: Sequence[int] = (), allowed: Sequence[int] | None = None
    ) -> np.ndarray:
        """[V] float64: the logits that the next token is drawn from."""
        found = logits.astype(np.float64)
        counts = Counter(self.generated)
        sampling = self.sampling
        for token in {*self.held, *self.generated}:
            value = found[token]
            penalty = sampling.repetition_penalty
            found[token] = value / penalty if value > 0 else value * penalty
        for token, count in counts.items():
            found[token] -= sampling.presence_penalty + sampling.frequency_penalty * count
        for token, bias in sampling.logit_bias:
            found[token] += bias
        if len(self.generated) < sampling.min_tokens:
            ends = [*sampling.stop_ids, *(() if sampling.ignore_eos else eos)]
            found[ends] = -np.inf
        if allowed is not None:
            found[np.setdiff1d(np.arange(len(found)), allowed)] = -np.inf
        return found


def bits(allowed: Sequence[int], vocab: int) -> np.ndarray:
    """[ceil(V / 32)] uint32."""
    words = np.zeros(-(-vocab // 32), np.uint32)
    for token in allowed:
        words[token // 32] |= np.uint32(1 << token % 32)
    return words
