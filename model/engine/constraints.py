"""Grammars over a model's vocabulary, by llguidance. Host side, no jax.

Building the vocabulary's prefix tree takes 0.14 s for 49,152 tokens and 1.7 s for 262,144, so it is
done once, in the background; grammars are compiled there, too.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Self

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import fill_next_token_bitmask

from model.contract import Constraint, InvalidParameter
from model.engine.grammar_trial import (
    COMPILE_STACK,
    BadGrammar,
    compiled,
    is_dead_end,
    one_line,
    try_out,
)
from model.text.language import TextModel
from model.text.special import SPOKEN_NAMES
from model.text.tokenizer import Tokenizer

_TRIED_GRAMMARS = 256
_MOST_WAITING = 64


class TooManyGrammars(Exception):
    """So many grammars wait to be compiled that no more are taken."""


class Vocabulary:
    """A model's tokens as llguidance sees them.

    size: of the model's logits; ids above the tokenizer's are never allowed. Control tokens, and
    ids that stand for no bytes, are special: no mask allows one, but for the ends of a sequence.
    Control tokens that are part of an answer (model.text.special.SPOKEN_NAMES) are text.
    """

    def __init__(
        self, tokenizer: Tokenizer, eos: Collection[int], control: Collection[int], size: int
    ) -> None:
        self.tokenizer = tokenizer
        self.eos = tuple(eos)
        self.words = -(-size // 32)
        self.tokens = [tokenizer.token_bytes(token) for token in range(size)]
        special = {token for token, spelled in enumerate(self.tokens) if not spelled}
        spoken = {token for token in control if tokenizer.piece(token) in SPOKEN_NAMES}
        special |= {token for token in (*control, *self.eos) if token < size} - spoken
        for token in special:
            self.tokens[token] = b""
        self._special = sorted(special)
        # Grammars need an end of sequence; one that the model lacks is a special token like others.
        ends = [token for token in self.eos if token < size] or self._special[:1]
        self.trie = LLTokenizer(_Wrapped(self, ends), n_vocab=size, eos_token=ends)  # type: ignore[arg-type]
        self.plain = self.bits([t for t in range(size) if t not in special])
        self.ends = self.bits([token for token in self.eos if token < size])

    def bits(self, tokens: Sequence[int]) -> np.ndarray:
        """[words] uint32 with the bits of these tokens: t % 32 of word t // 32."""
        flags = np.zeros(self.words * 32, np.uint8)
        flags[list(tokens)] = 1
        return np.packbits(flags, bitorder="little").view("<u4").astype(np.uint32)

    def spell(self, data: bytes) -> tuple[int, ...]:
        """Tokens for these bytes, as the tokenizer would cut them if they are text. () where the
        vocabulary lacks a byte."""
        tokens = tuple(self.trie.tokenize_bytes(data))
        return tokens if b"".join(self.tokens[token] for token in tokens) == data else ()

    def encode(self, text: str) -> list[int]:
        """As `Tokenizer.encode`, but for text inside a sequence in every vocabulary, and of the
        longest tokens that fit where the tokenizer changes the text."""
        ids = self.tokenizer.encode(text, first=False)
        if self._spelled(ids) == text.encode():
            return ids
        # This one puts a space before the first word: behind a line feed there is none.
        ids = self.tokenizer.encode("\n" + text, first=False)
        for start in range(1, 4):
            if self._spelled(ids[start:]) == text.encode():
                return ids[start:]
        ids = self.trie.greedy_tokenize(text)
        # It leaves out what has no token; llguidance would take the rest for the whole.
        return ids if self._spelled(ids) == text.encode() else []

    def _spelled(self, ids: Sequence[int]) -> bytes:
        return b"".join(map(self.tokenizer.token_bytes, ids))


class _Wrapped:
    """What llguidance reads of a vocabulary: the attributes that its TokenizerWrapper has."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, ends: Sequence[int]) -> None:
        self._vocabulary = vocabulary
        self.eos_token_id = ends[0]
        self.special_token_ids = vocabulary._special
        # Special tokens go by their names: with one name for all, who allows one allows them all.
        self.tokens = [*vocabulary.tokens]
        for token in vocabulary._special:
            self.tokens[token] = f"<special {token}>".encode()

    def __call__(self, text: str | bytes) -> list[int]:
        return self._vocabulary.encode(text if isinstance(text, str) else text.decode())


class Grammar:
    """A compiled grammar over a vocabulary, from which each path has a matcher of its own."""

    def __init__(self, vocabulary: Vocabulary, kind: str, text: str) -> None:
        """Raises BadGrammar."""
        self.vocabulary = vocabulary
        self._template = compiled(vocabulary.trie, kind, text)
        mask = np.zeros((1, vocabulary.words), np.int32)
        fill_next_token_bitmask(self._template, mask)
        error = self._template.get_error()
        if error and not is_dead_end(error):
            raise BadGrammar(one_line(error))
        if error or not (mask.view(np.uint32)[0] & (vocabulary.plain | vocabulary.ends)).any():
            raise BadGrammar("no token of the model's vocabulary can begin it")

    def matcher(self) -> LLMatcher:
        return self._template.deep_copy()


class NoGrammar:
    """Of a constraint that only says when the part before its marker must have ended."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary


AnyGrammar = Grammar | NoGrammar


class Constraints:
    """Compiles constraints for one model, on a thread of its own."""

    def __init__(
        self, tokenizer: Tokenizer, eos: Collection[int], control: Collection[int], size: int
    ) -> None:
        self._of = (tokenizer, eos, control, size)
        self._waiting: list[Future[AnyGrammar]] = []
        self._tried: OrderedDict[tuple[str, str], str] = OrderedDict()
        """By grammar, the newest last: what is wrong with it, "" for nothing. Of the thread."""

    @classmethod
    def of(cls, text: TextModel, size: int) -> Self:
        """size: of the model's logits."""
        return cls(text.tokenizer, text.eos, text.assets.control.values(), size)

    def prepare(self) -> None:
        """Begins to build what all grammars need."""
        self._thread.submit(lambda: self._vocabulary)

    def compile(self, constraint: Constraint) -> Future[AnyGrammar]:
        """Its exception is InvalidParameter when the grammar is none or takes too much.

        Each call compiles anew: matchers of one grammar share what they learn of its regular
        expressions, and the limit of that, so only paths that belong together should share one.

        Raises TooManyGrammars."""
        self._waiting = [grammar for grammar in self._waiting if not grammar.done()]
        if len(self._waiting) >= _MOST_WAITING:
            raise TooManyGrammars
        compiled = self._thread.submit(self._compiled, constraint.grammar)
        self._waiting.append(compiled)
        return compiled

    def _compiled(self, grammar: tuple[str, str] | None) -> AnyGrammar:
        vocabulary = self._vocabulary
        if grammar is None:
            return NoGrammar(vocabulary)
        kind, text = grammar
        try:
            self._try(kind, text)
            return Grammar(vocabulary, kind, text)
        except BadGrammar as bad:
            raise InvalidParameter("constraint", f"the grammar does not work: {bad}") from None

    def _try(self, kind: str, text: str) -> None:
        """Raises BadGrammar. A process is started only for what was not tried lately."""
        key = (kind, text)
        if key not in self._tried:
            try:
                try_out(kind, text)
            except BadGrammar as bad:
                self._tried[key] = str(bad)
            else:
                self._tried[key] = ""
            if len(self._tried) > _TRIED_GRAMMARS:
                self._tried.popitem(last=False)
        self._tried.move_to_end(key)
        if error := self._tried[key]:
            raise BadGrammar(error)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(*self._of)

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        before = threading.stack_size(COMPILE_STACK)
        try:
            thread = ThreadPoolExecutor(1, thread_name_prefix="pollux-grammars")
            thread.submit(int).result()  # The thread starts now, with the stack of now.
        finally:
            threading.stack_size(before)
        return thread
