"""Text out of a stream of tokens: a character is passed on once all its bytes have come."""

import codecs
from collections.abc import Iterable

from model.text.tokenizer import Tokenizer

_Decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """What push() and finish() return, joined, is the text of all tokens pushed.

    Bytes that are not UTF-8 become U+FFFD. A vocabulary's space before the first word is kept:
    generated text continues something.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = _Decoder(errors="replace")

    def push(self, ids: Iterable[int]) -> str:
        """The text that is complete now; a character cut in the middle waits for its rest."""
        return self._decoder.decode(b"".join(map(self._tokenizer.token_bytes, ids)))

    def peek(self, ids: Iterable[int]) -> str:
        """What `push` would return; nothing is pushed."""
        state = self._decoder.getstate()
        text = self.push(ids)
        self._decoder.setstate(state)
        return text

    def finish(self) -> str:
        """What was still waiting, as U+FFFD. The detokenizer is as new afterwards."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
