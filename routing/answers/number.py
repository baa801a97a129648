"""Numbers: `$1,234.00`, `-5`, `45%`, `3/4`, `1 1/2`, `\\boxed{\\frac{3}{4}}`, `1.2e5`, `42 apples`.

Currency, percent sign and units are dropped: a poll asks one question, so all its answers are in
the same unit, written or not. "million" is no unit: 1.5 million is 1500000. Two different numbers
on the answer line are ambiguous, unless one is the result of an equation or stands before an
explanation.
"""

from dataclasses import dataclass
from fractions import Fraction

import re2

from routing.answers import numerals
from routing.answers.base import Extraction, FinalLine, nothing
from routing.answers.grammar import NUMBER
from routing.answers.lines import (
    Segment,
    boxed_segment,
    contract_segment,
    last_line,
    read,
)

_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5",
    "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_VULGAR_CHARS = "".join(_VULGAR)
_POWERS = tuple("^⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

_BODY = r"[0-9]+(?:[.,'_][0-9]+|[ ][0-9]{3}\b)*|\.[0-9]+"
_RAISED = r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]{1,9}"
_NUMBER = re2.compile(
    r"(?:(?P<sign>[-+–])[ ]?)?(?:\\?(?P<currency>[$€£¥₹]|USD|EUR|GBP)[ ]?)?(?P<inner>-)?"
    r"(?:"
    r"\\[dt]?frac[ ]?\{[ ]?(?P<top>-?[0-9]{1,30})[ ]?\}[ ]?\{[ ]?(?P<bottom>[0-9]{1,30})[ ]?\}"
    r"|(?P<whole>[0-9]{1,30})[ ](?P<part>[0-9]{1,9})[ ]?/[ ]?(?P<parts>[0-9]{1,9})\b"
    rf"|(?P<numerator>{_BODY})[ ]?/[ ]?(?P<denominator>[0-9]{{1,30}})\b"
    rf"|10(?:\^[ ]?\{{?(?P<power>-?[0-9]{{1,9}})\}}?|(?P<raised>{_RAISED}))"
    rf"|(?P<units>{_BODY})?[ ]?(?P<vulgar>[{''.join(_VULGAR)}])"
    rf"|(?P<plain>{_BODY})"
    r"(?:[eE](?P<exponent>[-+]?[0-9]{1,12})\b"
    r"|[ ]?(?:[x×*·]|\\times|\\cdot)[ ]?10"
    rf"(?:\^[ ]?\{{?(?P<ten>-?[0-9]{{1,12}})\}}?|(?P<ten_raised>{_RAISED})))?"
    r")(?P<after>[ ]?(?:€|EUR))?"
)
# What ends the answer and begins its explanation.
_CLAUSE_END = re2.compile(
    r"(?i)[.;!?](?:\s|$)|\n|\s\(|[,]?\s(?:because|since|so|as|which|where|but|i\.e\.|if)\b"
)
_SCALE = re2.compile(r"[ ]?(?i:(thousand|million|billion|trillion))\b")
_MONEY_SCALE = re2.compile(r"(k|K|M|bn|B)\b")
_SCALES = {
    "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "k": 10**3, "m": 10**6, "bn": 10**9, "b": 10**9,
}  # fmt: skip
_ASSIGNMENT = re2.compile(r"\b[A-Za-z][ ]{0,4}=")
_EURO_THOUSANDS = re2.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")


@dataclass(frozen=True)
class _Found:
    value: Fraction | None
    begin: int
    end: int


class NumberExtractor:
    name = "number"
    form = "<number>"
    final_line = FinalLine(regex=NUMBER)
    blocking = False

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        reading = read(text)
        if reading is None:
            return nothing("thinking", truncated=truncated)
        asked = contract_segment(reading)
        if asked is not None and asked.method == "contract":
            return _decide(text, asked, truncated=truncated)
        boxed = boxed_segment(reading)
        if boxed is not None:
            return _decide(text, boxed, truncated=False)
        if asked is not None:
            return _decide(text, asked, truncated=truncated)
        closing = None if truncated else last_line(reading)
        if closing is None:
            return nothing("none", truncated=truncated)
        return _decide(text, closing, truncated=False)


def whole_number(text: str) -> Fraction | None:
    """The number that this is and nothing else: no unit, no second number."""
    found = _numbers(text)
    whole = len(found) == 1 and (found[0].begin, found[0].end) == (0, len(text))
    return found[0].value if whole else None


def _decide(text: str, segment: Segment, *, truncated: bool) -> Extraction:
    """One number on the line: that one. After the last "=": that one. Else before any reason."""
    found = _numbers(segment.text)
    open_ended = truncated and segment.ends_text
    if not found:
        return nothing(segment.method, truncated=open_ended)
    chosen = _after_equals(segment.text, found)
    clause_end = _CLAUSE_END.search(segment.text, chosen[0].end)
    if _distinct(chosen) > 1 and clause_end is not None:
        chosen = [number for number in chosen if number.begin < clause_end.start()]

    span = segment.span(chosen[0].begin, chosen[-1].end)
    raw = text[span[0] : span[1]]
    value = chosen[-1].value
    if open_ended and (clause_end is None or clause_end.end() == len(segment.text)):
        # What was cut off may have been more digits ("4." of "4.5"), or "* 3 = 36".
        return Extraction(raw, None, span, segment.method, "truncated")
    if _distinct(chosen) > 1 or value is None:
        return Extraction(raw, None, span, segment.method, "ambiguous")
    return Extraction(raw, numerals.canonical(value), span, segment.method, "ok")


def _after_equals(line: str, found: list[_Found]) -> list[_Found]:
    """The result of "6 * 7 = 42"; everything where several variables are given a value."""
    equals = line.rfind("=")
    if equals < 0 or len(list(_ASSIGNMENT.finditer(line))) > 1:
        return found
    return [number for number in found if number.begin > equals] or found


def _distinct(found: list[_Found]) -> int:
    return len({number.value for number in found})


def _numbers(line: str) -> list[_Found]:
    """All numbers of a line. value None: unclear which number it is, or out of bounds."""
    found = []
    for match in _NUMBER.finditer(line):
        groups = match.groupdict()
        begin, end = match.span()
        before = line[begin - 1 : begin]
        if groups["sign"] is None and (before.isalnum() or before in ("^", "_")) and before:
            continue  # H2O, x^2
        value = None if line[end : end + 1] in _POWERS else _value(groups)
        scale = _SCALE.match(line, end) or (groups["currency"] and _MONEY_SCALE.match(line, end))
        if scale:
            value, end = value and value * _SCALES[scale[1].casefold()], scale.end()
        if value is not None and (groups["inner"] or _is_minus(line, begin, groups["sign"])):
            value = -value
        found.append(_Found(value, begin, end))
    return found


def _is_minus(line: str, begin: int, sign: str | None) -> bool:
    """Whether a sign belongs to the number, and is no subtraction, range or hyphen."""
    if sign is None or sign == "+":
        return False
    left = line[:begin].rstrip()
    if not left or not (left[-1].isalnum() or left[-1] in ")]}%"):
        return True
    # "is -5", but neither "10 -5" nor "x - 5" nor "COVID-19".
    return left[-1].isalpha() and len(left) < begin and line[begin + 1] != " "


def _value(groups: dict[str, str | None]) -> Fraction | None:
    """What a match says, without its sign."""
    if (top := groups["top"]) is not None:
        return _quotient(Fraction(top), groups["bottom"])
    if (whole := groups["whole"]) is not None:
        part = _quotient(Fraction(groups["part"] or "0"), groups["parts"])
        return None if part is None else Fraction(whole) + part
    if (numerator := groups["numerator"]) is not None:
        above = numerals.parse_body(numerator)
        return None if above is None else _quotient(above, groups["denominator"])
    if (power := groups["power"] or _lowered(groups["raised"])) is not None:
        return numerals.scaled(Fraction(1), power)
    if (vulgar := groups["vulgar"]) is not None:
        units = numerals.parse_body(groups["units"] or "0")
        return None if units is None else units + Fraction(_VULGAR[vulgar])
    return _plain_value(groups)


def _plain_value(groups: dict[str, str | None]) -> Fraction | None:
    body = groups["plain"] or ""
    if _in_euros(groups) and _EURO_THOUSANDS.fullmatch(body):
        return None  # 1.234 euros: a thousand or a little more than one
    value = numerals.parse_body(body)
    exponent = groups["exponent"] or groups["ten"] or _lowered(groups["ten_raised"])
    if value is None or exponent is None:
        return value
    return numerals.scaled(value, exponent)


def _in_euros(groups: dict[str, str | None]) -> bool:
    return groups["currency"] in ("€", "EUR") or groups["after"] is not None


def _quotient(above: Fraction, below: str | None) -> Fraction | None:
    return above / Fraction(below) if below is not None and int(below) else None


def _lowered(superscript: str | None) -> str | None:
    return None if superscript is None else superscript.translate(_SUPERSCRIPTS)
