r"""Mathematics by value: `1/2`, `0.5`, `\frac12` and `\frac{2}{4}` are one vote, (x+1)^2 and its
expansion too.

The formula is found as `boxed` finds it. Parsing and simplification are Math-Verify's and SymPy's,
in a process of their own; both sides of a comparison get a canonical form, because Math-Verify's
own comparison depends on the order of its arguments. What is no formula, or takes longer than it
may, is compared as `boxed` compares it.
"""

import re

from routing.answers.base import Extraction, FinalLine
from routing.answers.boxed import MAX_CANONICAL_CHARS, formula
from routing.answers.grammar import LATEX
from routing.answers.latex import as_number, normal_form
from routing.answers.math_process import MathProcess, shared

# A word is no product of its letters; "xy" next to a digit or an operator is one.
_WORD = re.compile(r"[A-Za-z]{3,}")
_COMMAND = re.compile(r"\\(?:mathbb|begin|end)\{[A-Za-z]*\}|\\[A-Za-z]+")
_ALGEBRA = re.compile(r"[0-9+\-*/^=<>|()\[\]\\]")
_RATIONAL = re.compile(r"(-?[0-9]{1,60})/([0-9]{1,60})")


class MathExtractor:
    name = "math"
    form = "<answer in LaTeX>"
    final_line = FinalLine(regex=LATEX)
    blocking = True

    def __init__(self, process: MathProcess | None = None) -> None:
        self._process = shared() if process is None else process

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        segment = formula(text, truncated=truncated)
        if isinstance(segment, Extraction):
            return segment
        span = segment.span(0, len(segment.text))
        raw = text[span[0] : span[1]]
        canonical = self.canonical(segment.text)
        if not canonical or len(canonical) > MAX_CANONICAL_CHARS:
            return Extraction(raw, None, span, segment.method, "invalid")
        return Extraction(raw, canonical, span, segment.method, "ok")

    def canonical(self, latex: str) -> str:
        """The key under which equal formulas vote together; may be empty."""
        normal = normal_form(latex)
        if as_number(normal) is not None or not _is_formula(normal):
            return normal
        value = self._process.canonical(normal)
        if value is None:
            return normal
        # A fraction as `number` writes it; inside of a set or pair it stays as it is.
        rational = _RATIONAL.fullmatch(value)
        return (as_number(value) or value) if rational else value


def _is_formula(normal: str) -> bool:
    if "dots" in normal:
        return False  # the parser would read 0.33... as 0.33
    if _WORD.search(_COMMAND.sub(" ", normal)) or r"\text" in normal:
        return False
    return _ALGEBRA.search(normal) is not None
