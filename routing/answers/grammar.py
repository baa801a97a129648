"""What may stand behind "Answer: ", as regular expressions for constrained decoding.

They use what RE2, Rust's regex and Python's re understand alike. Each is narrower than what its
extractor reads, so that whatever a decoder writes under it is read.
"""

import re
from collections.abc import Mapping

from routing.answers.base import Extractor, FinalLine

NUMBER = r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,10})?(?:/[1-9][0-9]{0,9})?"

# Letters and digits of all scripts, by ranges that hold no outer punctuation (under NFKC too), so
# that something is left when an answer is stripped.
_SUBSTANCE = "0-9A-Za-zÀ-ʻͰ-ͽΈ-٩ٮ-ᙿᚁ-ᾼぁ-힣豈-\ufdff"
_OPENING = r"""["'(\[$+-]{0,2}"""
# Without what could open a tag or a LaTeX command; full-width forms are read as these.
FREE_TEXT = rf"{_OPENING}[{_SUBSTANCE}][^\n\r\\<＼＜]{{0,180}}"
# Nor a second "answer:" on the line.
MARKED_TEXT = rf"{_OPENING}[{_SUBSTANCE}][^\n\r\\<＼＜:：]{{0,180}}"
# Begins with what no normalisation drops.
LATEX = (
    r"[-+(\[|$]{0,2}(?:[0-9A-Za-z]|\\(?:frac|sqrt|pi|infty|emptyset|sin|cos|tan|log|ln|\{)"
    r"|\\text\{[0-9A-Za-z])[^\n\r<＜]{0,150}"
)


def one_of(extractor: Extractor, votes: Mapping[str, str]) -> FinalLine | None:
    """Any of these texts; each is a vote for what it is mapped to. None when none is readable."""
    readable = [
        text for text, vote in votes.items() if extractor.extract(f"Answer: {text}").vote == vote
    ]
    return FinalLine(regex="|".join(map(literal, readable))) if readable else None


def literal(text: str) -> str:
    """Escaped only where all three syntaxes agree on it: re.escape escapes spaces too."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
