"""Reasoning that a model writes before its answer, between two marks.

Which marks a model has is told by its chat template, else by its vocabulary. The block begins the
answer, or the template has begun it already; what is not closed at the end is all reasoning.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from model.text.detokenizer import Detokenizer
from model.text.tokenizer import Tokenizer

_MAX_SPACE = 256
"""Characters of white space held back until it is known what follows."""


@dataclass(frozen=True, slots=True)
class Marks:
    """shown: the chat template has them, so the model reasons unless it is told not to."""

    opening: str
    closing: str
    shown: bool = True


KNOWN = (
    ("<think>", "</think>"),  # DeepSeek R1, Qwen 3, SmolLM 3 and most others
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[THINK]", "[/THINK]"),  # Magistral
)

SWITCHES = ("enable_thinking", "thinking")
"""Variables by which chat templates turn reasoning on and off, true and false."""


def marks_of(template: str, tokenizer: Tokenizer, control: Collection[str]) -> Marks | None:
    """A vocabulary that has both marks as tokens of their own is of a model that knows them."""
    for opening, closing in KNOWN:
        if opening in template or closing in template:
            return Marks(opening, closing)
    for opening, closing in KNOWN:
        if all(_is_one(mark, tokenizer, control) for mark in (opening, closing)):
            return Marks(opening, closing, shown=False)
    return None


def _is_one(mark: str, tokenizer: Tokenizer, control: Collection[str]) -> bool:
    return mark in control or len(tokenizer.encode(mark, first=False)) == 1


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the reasoning."""

    text: str


Piece = Thought | str

Stage = Literal["start", "reasoning", "answer"]


class ThoughtSplitter:
    """Splits one answer, as it comes, into reasoning and what follows.

    Text that may yet be a mark is held back, so no piece has part of one. White space around the
    reasoning and before the answer behind it is dropped. Later blocks are text. Time is linear in
    the length of the answer.

    opened: the prompt has begun the reasoning; a model may write the mark once more. enders: other
    texts that end it and belong to the answer, such as a call that is made while it reasons.
    """

    def __init__(self, marks: Marks, *, opened: bool, enders: Sequence[str] = ()) -> None:
        self._opening = marks.opening
        self._ends = (marks.closing, *enders)
        self._opened = opened
        self._held = ""
        self._space = ""
        self._begun = False
        self.stage: Stage = "start"
        self.reasoned = opened
        """Whether there is a block."""
        self.broken_off = False
        """Whether one of `enders` ended it."""

    @property
    def over(self) -> bool:
        """Whether all that comes is the answer."""
        return self.stage == "answer"

    def push(self, text: str) -> list[Piece]:
        said: list[Piece] = []
        if self.stage == "start":
            text = self._start(text)
        if self.stage == "reasoning":
            text = self._reason(text, said)
        if self.stage == "answer":
            self._answer(text, said)
        return said

    def finish(self) -> list[Piece]:
        """What was held back, once nothing more comes."""
        said: list[Piece] = []
        held, self._held = self._held, ""
        if self.stage == "start" and not self._opened:
            return [held] if held else []
        if self.stage != "answer":
            self._think(held, said)
        self._space = ""
        return said

    def _start(self, text: str) -> str:
        """The text from where the stage after this begins, "" while that is not known."""
        text = self._held + text
        shown = text.lstrip()
        if len(text) - len(shown) <= _MAX_SPACE:
            if shown.startswith(self._opening):
                self._held, self.stage, self.reasoned = "", "reasoning", True
                return shown[len(self._opening) :]
            if self._opening.startswith(shown):
                self._held = text
                return ""
        self._held, self.stage = "", "reasoning" if self._opened else "answer"
        self._begun = not self._opened
        return text

    def _reason(self, text: str, said: list[Piece]) -> str:
        text = self._held + text
        found = [(at, end) for end in self._ends if (at := text.find(end)) >= 0]
        if not found:
            keep = max(_overlap(text, end) for end in self._ends)
            self._held = text[len(text) - keep :]
            self._think(text[: len(text) - keep], said)
            return ""
        at, end = min(found)
        self._held, self.stage = "", "answer"
        self._think(text[:at], said)
        self._space, self._begun = "", False
        self.broken_off = end != self._ends[0]
        return text[at:] if self.broken_off else text[at + len(end) :]

    def _think(self, text: str, said: list[Piece]) -> None:
        """Passes on what is not white space at either end of the reasoning."""
        if not self._begun:
            text = text.lstrip()
        if not text:
            return
        self._begun = True
        shown = text.rstrip()
        space = text[len(shown) :]
        text = self._space + shown if shown else ""
        self._space = space if shown else self._space + space
        text += self._space[:-_MAX_SPACE]
        self._space = self._space[-_MAX_SPACE:]
        if text:
            said.append(Thought(text))

    def _answer(self, text: str, said: list[Piece]) -> None:
        if not self._begun:
            text = text.lstrip()
        if text:
            self._begun = True
            said.append(text)


class ThoughtCounter:
    """How many tokens of an answer are reasoning: its marks included, also those put in by force.

    Counts by what each token stands for, so it needs no events that fit. Arguments as of
    ThoughtSplitter."""

    def __init__(
        self, tokenizer: Tokenizer, marks: Marks, *, opened: bool, enders: Sequence[str] = ()
    ) -> None:
        self._text = Detokenizer(tokenizer)
        self._splitter = ThoughtSplitter(marks, opened=opened, enders=enders)
        self._seen = 0

    def push(self, tokens: Iterable[int]) -> None:
        splitter = self._splitter
        for token in tokens:
            if splitter.over:
                return
            splitter.push(self._text.push((token,)))
            self._seen += not (splitter.over and splitter.broken_off)

    @property
    def count(self) -> int:
        return self._seen if self._splitter.reasoned else 0


def split(text: str, marks: Marks, *, opened: bool) -> tuple[str, str]:
    """Reasoning and answer of a whole text."""
    splitter = ThoughtSplitter(marks, opened=opened)
    pieces = [*splitter.push(text), *splitter.finish()]
    reasoning = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    return reasoning, "".join(piece for piece in pieces if isinstance(piece, str))


def _overlap(text: str, mark: str) -> int:
    """How many characters at the text's end may be the mark's beginning."""
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)
