"""The lettered options of a question: "A) 21 B) 23 C) 24", "(A) Paris", "A. Paris" per line."""

from collections.abc import Mapping

import re2

from routing.answers.lines import plain

MAX_QUESTION_CHARS = 100_000
DEFAULT_LABELS = "ABCDE"

_LABEL = re2.compile(
    r"(?m)(?:^|[\s,;\[])(?:\((?P<round>[A-Za-z])\)|(?P<half>[A-Za-z])\))[ \t]{0,8}"
    r"|^[ \t*_>-]{0,8}(?P<dot>[A-Za-z])[*_]{0,2}[.:][*_]{0,2}[ \t]{1,8}"
)


def find_options(question: str) -> dict[str, str]:
    """Label (upper case) to text, from the last list that runs A, B, ...; empty without one."""
    text = plain(question[-MAX_QUESTION_CHARS:])
    best: list[tuple[str, int, int]] = []
    run: list[tuple[str, int, int]] = []
    for match in _LABEL.finditer(text):
        label = (match["round"] or match["half"] or match["dot"]).upper()
        if label == "A":
            run = [(label, match.start(), match.end())]
        elif run and ord(label) == ord(run[-1][0]) + 1:
            run.append((label, match.start(), match.end()))
        if len(run) >= 2:
            best = run
    return _texts(text, best)


def _texts(text: str, run: list[tuple[str, int, int]]) -> dict[str, str]:
    options = {}
    ends = [*(begin for _, begin, _ in run[1:]), len(text)]
    for (label, _, begin), end in zip(run, ends, strict=False):
        line = text[begin:end].strip().partition("\n")[0]
        options[label] = line.strip(" \t,;")
    return options


def offered(choices: Mapping[str, str] | None, question: str) -> dict[str, str]:
    """The choices that may be voted for: the caller's, else the question's, else A to E."""
    if choices is not None:
        return dict(choices)
    return find_options(question) or dict.fromkeys(DEFAULT_LABELS, "")
