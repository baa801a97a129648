r"""The kind of answer that a question asks for, by what the question looks like.

In this order: a schema is demanded, lettered options, \boxed demanded, yes or no, LaTeX, a number;
else text. Made for questions as people and data sets write them; who knows the kind names it.
"""

from typing import Any

import re2

from routing.answers import math_process
from routing.answers.lines import plain
from routing.answers.options import MAX_QUESTION_CHARS, find_options
from routing.answers.specs import (
    AnswerSpec,
    AutoAnswer,
    BooleanAnswer,
    BoxedAnswer,
    ChoiceAnswer,
    ExactAnswer,
    JsonAnswer,
    MathAnswer,
    NumberAnswer,
)

_BOXED = re2.compile(r"\\(?:f?boxed|fbox)\b")
_LATEX = re2.compile(
    r"\\(?:[dt]?frac|sqrt|int|sum|prod|lim|begin|mathbb|binom|sin|cos|tan|log|ln|pi|theta|alpha"
    r"|leq?|geq?|cdot|times)\b|\$[^$\n]{0,200}[\\^_=][^$\n]{0,200}\$"
    r"|\$(?:[A-Za-z]|[^\s$0-9.,][^$\n]{0,200}[^\s$])\$|\\\(|\\\["
)
_SENTENCE = re2.compile(r"[^.!?\n]*[^.!?\s][^.!?\n]*\?")
_ASKS_YES_NO = re2.compile(
    r"(?i)\b(?:yes or no|yes/no|yes / no|true or false|true/false|ja oder nein|oui ou non"
    r"|s[ií] o no|да или нет)\b|是否|吗\?"
)
_AUXILIARY = re2.compile(
    r"(?i)^[\s\"'*(]*(?:(?:so|then|now|and|but),? )?(?:is|are|was|were|am|do|does|did|can|could"
    r"|will|would|should|has|have|had|must|may|might|isn't|aren't|wasn't|doesn't|don't|didn't|can't)\b"
)
# "Can you tell me ...?", "Is it red or blue?", "Do you know who ...?" ask for something else.
_NO_YES_NO = re2.compile(
    r"(?i)^[\s\"'*(]*(?:can|could|will|would) (?:you|someone|anyone)\b|\bor\b"
    r"|\b(?:who|what|when|where|which|why|how)\b"
)
_ASKS_NUMBER = re2.compile(
    r"(?i)\bhow (?:many|much|old|far|long|tall|fast|heavy|high|deep|wide|often)\b"
    r"|\bwhat (?:is|are|was|were|will be|would be) (?:the |its |his |her |their )?(?:\w+ ){0,2}?"
    r"(?:sum|product|difference|quotient|remainder|total|average|mean|median|probability"
    r"|percentage|percent|number|amount|area|perimeter|volume|cost|price|profit|speed|distance"
    r"|ratio|value|age|length|width|height|weight|temperature)\b"
    r"|\bwhat (?:number|percentage|percent|fraction)\b"
    r"|\b(?:calculate|compute|evaluate|solve for [a-z])\b"
    r"|\bfind the (?:\w+ ){0,2}?(?:number|sum|value|product)\b"
    r"|\bwie ?viele?\b|\bcombien\b|\bcu[aá]nt[oa]s?\b|\bquant[oaie]\b"
    r"|сколько|多少|几个|幾|いくつ|何個"
)
_ARITHMETIC = re2.compile(
    r"(?i)(?:\bwhat(?:'s| is)|\bsolve:?|^)[\s(]*-?[0-9][0-9.,]*[\s)]*"
    r"(?:[-+*/^×÷x][\s(]*-?[0-9][0-9.,]*[\s)]*)+[=?.\s]*$"
)


def resolve(
    spec: AnswerSpec,
    question: str,
    schema: dict[str, Any] | None = None,
    *,
    mathematics: bool | None = None,
) -> AnswerSpec:
    """The spec itself, or for `auto` the kind that the question asks for; never `auto`.

    schema: the JSON schema that the request demands of the reply. mathematics: whether `math` may
    be used; by default, whether its package is installed. Raises ValueError (pydantic's) for a
    schema that `json` does not take.
    """
    if not isinstance(spec, AutoAnswer):
        return spec
    if schema is not None:
        return JsonAnswer(schema=schema)
    if find_options(question):
        return ChoiceAnswer()
    text = plain(question[-MAX_QUESTION_CHARS:])
    formula = _formula_kind(mathematics)
    if _BOXED.search(text):
        return formula
    if _asks_yes_or_no(text):
        return BooleanAnswer()
    if _LATEX.search(text):
        return formula
    if _ASKS_NUMBER.search(text) or _ARITHMETIC.search(text.strip()):
        return NumberAnswer()
    return ExactAnswer()


def _formula_kind(mathematics: bool | None) -> AnswerSpec:
    allowed = math_process.available() if mathematics is None else mathematics
    return MathAnswer() if allowed else BoxedAnswer()


def _asks_yes_or_no(text: str) -> bool:
    if _ASKS_YES_NO.search(text):
        return True
    sentences = [match[0] for match in _SENTENCE.finditer(text)]
    if not sentences:
        return False
    last = sentences[-1]
    return bool(_AUXILIARY.search(last)) and not _NO_YES_NO.search(last)
