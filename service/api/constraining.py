"""Texts held to a form that an answer can be read from (`uncertainty_routing.constrain`).

A path thinks freely. Once it writes "Answer:", a grammar holds the rest of the line to what its
extractor reads; where its model reasons between marks, the line is what follows them. Where a path
would end without that line, or runs out of tokens, it is begun for it. The direct answer is nothing
but the line.
"""

import json
from dataclasses import replace

import msgspec

from model.contract import Constraint, SamplingParams
from routing.answers.base import FinalLine
from routing.answers.registry import extractor_for
from routing.events import Question
from routing.policy import RoutingPolicy
from service.api.planning import Served
from service.errors import ApiError

MARK = "Answer:"
LINE_TOKENS, JSON_TOKENS = 48, 256
"""Kept of a path's tokens for its final line, beside those that begin it."""


def constrained(question: Question, policy: RoutingPolicy, served: Served) -> Question:
    """The question with the constraint of its direct answer and its paths. Raises ApiError."""
    if not policy.constrain:
        return question
    line = extractor_for(policy.answer, question.text).final_line
    if line is None:
        raise ApiError(
            "invalid",
            "constrain needs an answer whose form is known: not a pattern of your own",
            param="uncertainty_routing.constrain",
        )
    # A base model's prompt ends with the mark itself.
    begun = MARK if served.text.has_chat_template else ""
    marks = served.text.thinking
    after, between = MARK, ""
    closing = tuple(served.text.tokenizer.encode(f"\n{MARK}", first=False))
    if question.begun and marks is not None:
        after, between = marks.closing, f'("\\n" | "\\n\\n")? "{MARK}" '
        closing = served.text.encode_marks(f"\n{marks.closing}\n\n{MARK}")
    return replace(
        question,
        direct_sampling=_held(question.direct_sampling, Constraint(lark=_lark(line, begun))),
        path_sampling=_held(
            question.path_sampling,
            Constraint(
                lark=_lark(line, "", between),
                after=after,
                closing=closing,
                reserve=_reserve(line, closing, question.path_sampling.max_tokens),
            ),
        ),
    )


def _held(sampling: SamplingParams, constraint: Constraint) -> SamplingParams:
    return msgspec.structs.replace(sampling, constraint=constraint)


def _reserve(line: FinalLine, closing: tuple[int, ...], max_tokens: int) -> int:
    """At most half of a path that may have few tokens; 0 where even the closing does not fit."""
    wanted = len(closing) + (LINE_TOKENS if line.json_schema is None else JSON_TOKENS)
    reserve = min(wanted, max_tokens // 2)
    return reserve if reserve > len(closing) else 0


def _lark(line: FinalLine, begun: str, before: str = "") -> str:
    """What is left of the line: its beginning if that is not there yet, a space, the answer.
    before: a part of a rule that comes first."""
    if line.json_schema is not None:
        rule = f"answer: %json {json.dumps(line.json_schema)}"
    else:
        assert line.regex is not None
        rule = f"answer: {_terminal(line.regex)}"
    start = f'"{begun} "' if begun else '" "?'
    return f"start: {before}{start} answer\n{rule}\n"


def _terminal(regex: str) -> str:
    """A regular expression between slashes."""
    return "/" + regex.replace("/", r"\/") + "/"
