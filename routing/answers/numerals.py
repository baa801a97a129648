"""Written numbers to exact rationals, and rationals to one canonical spelling.

    "1,234.50" -> 1234.5    "1.234,50" -> 1234.5    "0,5" -> .5    "3/4" -> .75    "1e3" -> 1000

A lone comma before three digits groups thousands ("1,234"), a lone dot is a decimal point
("1.234"): the English reading, as the prompts are English. What fits no reading is None.
"""

from fractions import Fraction

import re2

MAX_DIGITS = 60
MAX_EXPONENT = 40

_GROUPED_BY = {
    separator: re2.compile(rf"[1-9][0-9]{{0,2}}(?:{separator}[0-9]{{3}})+")
    for separator in (",", r"\.", " ", "'", "_")
}
_INDIAN = re2.compile(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")


def parse_body(body: str) -> Fraction | None:
    """Digits with separators, no sign: "1,234.5". None when it is not clear what is meant."""
    if sum(char.isdigit() for char in body) > MAX_DIGITS:
        return None
    whole, point, decimals = _split_decimals(body)
    grouped = _ungroup(whole)
    if grouped is None or (point and not (decimals.isascii() and decimals.isdigit())):
        return None
    return Fraction(f"{grouped or '0'}.{decimals}" if point else grouped)


def _split_decimals(body: str) -> tuple[str, str, str]:
    """The integer part as written, the decimal separator or "", the decimals."""
    dots, commas = body.count("."), body.count(",")
    if dots and commas:
        separator = max(".,", key=body.rfind)
        return body.rpartition(separator) if body.count(separator) == 1 else (body, "", "")
    if dots == 1:
        return body.rpartition(".")
    if commas == 1:
        whole, _, decimals = body.rpartition(",")
        thousands = len(decimals) == 3 and 1 <= len(whole) <= 3 and not whole.startswith("0")
        return (body, "", "") if thousands else (whole, ",", decimals)
    return body, "", ""


def _ungroup(whole: str) -> str | None:
    """The digits of an integer part; None when its separators do not group thousands."""
    if whole.isascii() and (whole.isdigit() or not whole):
        return whole
    grouped = any(pattern.fullmatch(whole) for pattern in _GROUPED_BY.values())
    if not grouped and not _INDIAN.fullmatch(whole):
        return None
    return "".join(char for char in whole if char.isdigit())


def scaled(value: Fraction, exponent: str) -> Fraction | None:
    """value x 10^exponent, within bounds: nobody can make this write out 10**10**9."""
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return value * Fraction(10) ** int(exponent)


def canonical(value: Fraction) -> str:
    """Decimal when it ends ("0.75", "-1234"), else a fraction in lowest terms ("1/3")."""
    denominator = value.denominator
    twos = fives = 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    places = max(twos, fives)
    if denominator != 1 or places > MAX_DIGITS + MAX_EXPONENT:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    if places == 0:
        return sign + digits
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
