"""When a path ends and what of its text may be shown. One object per path, plain Python."""

from collections.abc import Collection, Iterable

from model.contract import Finish, SamplingParams
from model.text.detokenizer import Detokenizer
from model.text.tokenizer import Tokenizer


class OutputText:
    """Follows one path token by token: visible text, stop conditions, finish reason."""

    def __init__(
        self,
        sampling: SamplingParams,
        tokenizer: Tokenizer,
        eos: Collection[int],
        generated: Iterable[int] = (),
    ) -> None:
        self._sampling = sampling
        self._eos = frozenset() if sampling.ignore_eos else frozenset(eos)
        self._detokenizer = Detokenizer(tokenizer)
        self._held = ""
        self.count = 0
        for token in generated:
            self.push(token)

    def push(self, token: int) -> tuple[str, Finish | None]:
        """Takes the next sampled token; returns the text it makes visible and why it ends."""
        self.count += 1
        sampling = self._sampling
        # A token may end the path only when min_tokens others came before it.
        if self.count > sampling.min_tokens:
            if token in sampling.stop_ids:
                return self._ended(Finish(reason="stop", matched=token))
            if token in self._eos:
                return self._ended(Finish(reason="stop"))
        self._held += self._detokenizer.push((token,))
        if self.count >= sampling.min_tokens:
            cut = self._cut_at_stop()
            if cut is not None:
                return cut
        if self.count >= sampling.max_tokens:
            return self._ended(Finish(reason="length"))
        return self._release(), None

    def would_end(self, token: int) -> bool:
        """Whether this token would end the path, for another reason than its length."""
        sampling = self._sampling
        if token in sampling.stop_ids or token in self._eos:
            return self.count >= sampling.min_tokens
        if not sampling.stop or self.count + 1 < sampling.min_tokens:
            return False
        text = self._held + self._detokenizer.peek((token,))
        return any(stop in text for stop in sampling.stop)

    def close(self) -> str:
        """What was still held back, when the path ends from outside (abort)."""
        text, self._held = self._held + self._detokenizer.finish(), ""
        return text

    def _ended(self, finish: Finish) -> tuple[str, Finish]:
        self._held += self._detokenizer.finish()
        if self.count >= self._sampling.min_tokens:
            cut = self._cut_at_stop()
            if cut is not None and finish.reason == "length":
                return cut
            if cut is not None:
                return cut[0], finish
        text, self._held = self._held, ""
        return text, finish

    def _cut_at_stop(self) -> tuple[str, Finish] | None:
        found = [(at, stop) for stop in self._sampling.stop if (at := self._held.find(stop)) >= 0]
        if not found:
            return None
        at, stop = min(found)
        text, self._held = self._held[:at], ""
        return text, Finish(reason="stop", matched=stop)

    def _release(self) -> str:
        """All held text but the longest end of it that may be the beginning of a stop string."""
        keep = max((_overlap(self._held, stop) for stop in self._sampling.stop), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that `text` ends with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
