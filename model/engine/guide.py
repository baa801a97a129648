"""Follows one path under a constraint, token by token: what is allowed next, what must come.

A path is free until its text contains the constraint's marker, and *steered* from then on: its next
token needs a mask, which needs all tokens before it. A constraint without a grammar steers nothing:
it only has the marker come in time. What stands in the path is a function of what
was sampled, so another worker comes to the same state from the tokens that were delivered.
"""

import numpy as np
from llguidance import LLExecutor, LLMatcher
from llguidance.numpy import fill_next_token_bitmask, fill_next_token_bitmask_par

from model.contract import Constraint, InvalidParameter, SamplingParams
from model.engine.constraints import AnyGrammar, Grammar
from model.engine.grammar_trial import is_dead_end, one_line


class Guide:
    """steered: the constraint holds for the next token. complete: nothing can follow, or an end
    was sampled where the text may end. stuck: no token of the vocabulary can follow, though more
    must. error: the grammar took too much, in one line.

    Raises InvalidParameter when `generated` is not what this constraint lets a path generate, or
    the closing does not lead to it.
    """

    def __init__(
        self,
        sampling: SamplingParams,
        grammar: AnyGrammar,
        generated: tuple[int, ...] = (),
    ) -> None:
        constraint = sampling.constraint
        assert constraint is not None
        self.stuck = False
        self.error: str | None = None
        self._constraint = constraint
        self._sampling = sampling
        self._vocabulary = grammar.vocabulary
        self._grammar = grammar if isinstance(grammar, Grammar) else None
        self._matcher = None if self._grammar is None else self._grammar.matcher()
        self._marker = Marker(constraint.after)
        self._count = 0
        self._stops = self._vocabulary.bits(sampling.stop_ids) if sampling.stop_ids else None
        if constraint.closing:
            self._check_closing(constraint)
        for token in generated:
            if not self._take(token):
                raise InvalidParameter("constraint", "the generated tokens break the constraint")

    @property
    def steered(self) -> bool:
        return self._marker.found and self._matcher is not None

    @property
    def complete(self) -> bool:
        return self.steered and self.matcher.is_stopped() and not self.matcher.is_error()

    @property
    def broken(self) -> bool:
        """Nothing can follow: what was sampled last counts for nothing."""
        return self.stuck or self.error is not None

    def place(self, token: int, ends: bool) -> tuple[int, ...]:
        """The tokens that stand where `token` was sampled: itself, alone or followed by others
        that must come, or others in its place.

        ends: it would end the path. Tokens sampled ahead of this are void where the answer is not
        the token alone, or where the path is steered from now on.
        """
        if self._marker.found:
            return (token,) if ends else self._put((token,))
        closing = self._constraint.closing
        if ends:
            return self._put(closing) or (token,)
        spelled = self._vocabulary.tokens[token]
        rest = self._marker.beyond(spelled)
        if rest and not self._accepts(rest):
            return self._put(self._vocabulary.spell(spelled[: -len(rest)]) or (token,))
        self._put((token,))
        reserve = self._constraint.reserve
        if reserve and not self._marker.found and self._left <= reserve:
            return (token, *self._put(closing))
        return (token,)

    def fill(self, mask: np.ndarray) -> None:
        """mask: [words] uint32, as llguidance filled it. Takes special tokens out, puts stop ids in
        where the text may end. What nothing can follow, and what is `broken`, has an empty one."""
        if self.matcher.is_error():
            self._blame()
            mask[:] = 0
            return
        sampling, vocabulary = self._sampling, self._vocabulary
        ends = mask & vocabulary.ends
        mask &= vocabulary.plain
        if self._stops is not None and ends.any() and self._count >= sampling.min_tokens:
            mask |= self._stops
        if not sampling.ignore_eos or not mask.any():
            mask |= ends
        self.stuck = not mask.any()

    def _blame(self) -> None:
        """Says why the constraint cannot go on."""
        message = self.matcher.get_error()
        if message and not is_dead_end(message):
            self.error = one_line(message)
        else:
            self.stuck = True

    @property
    def matcher(self) -> LLMatcher:
        """Of a constraint with a grammar."""
        assert self._matcher is not None
        return self._matcher

    @property
    def _left(self) -> int:
        return self._sampling.max_tokens - self._count

    def _put(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """As many of them as the path has room for."""
        tokens = tokens[: self._left]
        for token in tokens:
            if not self._take(token):
                self._blame()
        return tokens

    def _take(self, token: int) -> bool:
        """The token stands in the path. False when the constraint does not allow it."""
        self._count += 1
        if self._marker.found:
            return self._matcher is None or bool(self._matcher.consume_token(token))
        rest = self._marker.push(self._vocabulary.tokens[token])
        return not rest or self._begin(rest)

    def _begin(self, rest: bytes) -> bool:
        """The marker's last token has these bytes of the constrained text."""
        if self._grammar is None:
            return True
        tokens = self._vocabulary.trie.tokenize_bytes(rest)
        matcher = self._grammar.matcher()
        if matcher.try_consume_tokens(tokens) != len(tokens):
            return False
        self._matcher = matcher
        return True

    def _accepts(self, rest: bytes) -> bool:
        if self._grammar is None:
            return True
        tokens = self._vocabulary.trie.tokenize_bytes(rest)
        return self._grammar.matcher().try_consume_tokens(tokens) == len(tokens)

    def _check_closing(self, constraint: Constraint) -> None:
        marker = Marker(constraint.after)
        rest: bytes | None = None
        for token in constraint.closing:
            more = self._vocabulary.tokens[token]
            rest = marker.push(more) if rest is None else rest + more
        if rest is None:
            raise InvalidParameter("constraint", "closing does not contain the marker")
        if rest and not self._accepts(rest):
            raise InvalidParameter("constraint", "closing goes on as the constraint does not allow")


class Marker:
    """Looks for a text in bytes that come piece by piece. None is found at once."""

    def __init__(self, text: str | None) -> None:
        self._text = (text or "").encode()
        self._tail = b""
        self.found = text is None

    def beyond(self, data: bytes) -> bytes | None:
        """What of the next bytes is behind the marker; None if they do not complete it."""
        at = (self._tail + data).find(self._text)
        return None if at < 0 else (self._tail + data)[at + len(self._text) :]

    def push(self, data: bytes) -> bytes | None:
        """The same; these bytes have come."""
        rest = self.beyond(data)
        self.found = self.found or rest is not None
        keep = len(self._text) - 1
        self._tail = (self._tail + data)[-keep:] if keep else b""
        return rest


class Masks:
    """Masks for the steered rows of a step, several at a time."""

    def __init__(self) -> None:
        self._executor: LLExecutor | None = None

    def of(self, guides: dict[int, Guide]) -> dict[int, np.ndarray]:
        """By row, [words] uint32. A row whose guide is `broken` then has a mask of nothing."""
        if not guides:
            return {}
        words = next(iter(guides.values()))._vocabulary.words
        masks = np.zeros((len(guides), words), np.int32)
        if len(guides) == 1:
            (guide,) = guides.values()
            fill_next_token_bitmask(guide.matcher, masks)
        else:
            self._executor = self._executor or LLExecutor()
            matchers = [(guide.matcher, at) for at, guide in enumerate(guides.values())]
            fill_next_token_bitmask_par(self._executor, matchers, masks)
        allowed = masks.view(np.uint32)
        for guide, mask in zip(guides.values(), allowed, strict=True):
            guide.fill(mask)
        return dict(zip(guides, allowed, strict=True))
