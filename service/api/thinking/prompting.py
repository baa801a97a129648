"""Reasoning of a plain answer: how its prompt begins or rules it out, and what bounds it.

Where it must be known where the reasoning ends (it is bounded, or the answer behind it is held to a
form), the prompt begins it, as the model would have done itself.
"""

import json
from dataclasses import dataclass

import msgspec

from model.contract import Constraint
from model.text.language import TextModel
from model.text.thinking import Marks, ThoughtCounter
from service.api.structured import json_rule
from service.api.thinking.wish import Wish
from service.errors import ApiError


@dataclass(frozen=True, slots=True)
class Thoughts:
    """How the reasoning of an answer is told. opened: the prompt has begun it. enders: what ends
    it besides its mark (model.text.thinking.ThoughtSplitter). shown: the reply has it."""

    marks: Marks
    opened: bool
    enders: tuple[str, ...] = ()
    shown: bool = True

    def counter(self, text: TextModel) -> ThoughtCounter:
        return ThoughtCounter(text.tokenizer, self.marks, opened=self.opened, enders=self.enders)


def switched(wish: Wish) -> bool | None:
    """What the template's switch is set to."""
    return False if wish.off else True if wish.on else None


def prompted(
    ids: tuple[int, ...],
    text: TextModel,
    wish: Wish,
    *,
    formed: bool = False,
    enders: tuple[str, ...] = (),
) -> tuple[tuple[int, ...], Thoughts | None]:
    """The prompt of a conversation with reasoning begun or ruled out, and how it is told; None for
    an answer without any. formed: the answer is held to a form. Raises ApiError.
    """
    marks = text.thinking
    if marks is None:
        if wish.on:
            raise _unsupported(wish, "this model does not reason before it answers")
        return ids, None
    ending = text.ends_with_mark(ids)
    if wish.off:
        return (*ids, *_ruled_out(text, marks, ending)), None
    if ending == "closing":
        if wish.on:
            raise _unsupported(wish, "this model's chat template rules reasoning out")
        return ids, None
    if ending == "opening":
        return ids, Thoughts(marks, True, enders, wish.show)
    if wish.on or (formed and marks.shown):
        begun = text.encode_marks(f"{marks.opening}\n")
        return (*ids, *begun), Thoughts(marks, True, enders, wish.show)
    if formed:
        return ids, None
    return ids, Thoughts(marks, False, enders, wish.show)


def continued(written: str, text: TextModel, wish: Wish) -> Thoughts | None:
    """Of an answer that goes on with what is written of it. Raises ApiError."""
    marks = text.thinking
    if wish.on or (wish.off and marks is not None):
        raise ApiError(
            "invalid",
            "whether to reason is not asked for an answer that has begun",
            param=wish.param,
        )
    if marks is None or written.rfind(marks.opening) <= written.rfind(marks.closing):
        return None
    return Thoughts(marks, True, (), wish.show)


def _unsupported(wish: Wish, why: str) -> ApiError:
    return ApiError("invalid", why, param=wish.param, code="unsupported_parameter")


def _ruled_out(text: TextModel, marks: Marks, ending: str | None) -> tuple[int, ...]:
    """An empty block where the template has no switch, as templates with one write it."""
    if ending == "closing" or (ending is None and not marks.shown):
        return ()
    begun = "" if ending == "opening" else f"{marks.opening}\n"
    return text.encode_marks(f"{begun}\n{marks.closing}\n\n")


def bounded(
    form: Constraint | None,
    thoughts: Thoughts | None,
    text: TextModel,
    wish: Wish,
    max_tokens: int,
) -> Constraint | None:
    """The constraint of an answer whose reasoning ends in time and is itself free of the form."""
    if thoughts is None or not thoughts.opened:
        return form
    if form is not None and form.after is not None:
        if wish.budget is not None:
            raise ApiError(
                "invalid",
                "a bound of the reasoning and strict functions exclude each other",
                param=wish.param,
            )
        return form
    after = thoughts.marks.closing
    spaced = None if form is None else _spaced(form)
    between = "" if form is not None and spaced is form else "\n\n"
    closing = text.encode_marks(f"\n{after}{between}")
    most = wish.most_tokens
    reserve = 0 if most is None else max(0, max_tokens - most)
    reserve = reserve if reserve > len(closing) else 0
    if spaced is None:
        return Constraint(after=after, closing=closing, reserve=reserve) if reserve else None
    return msgspec.structs.replace(spaced, after=after, closing=closing, reserve=reserve)


def _spaced(form: Constraint) -> Constraint:
    """The form behind up to two line feeds, which models write there; itself where that cannot be
    said."""
    if form.json_schema is not None:
        answer = json_rule(json.loads(form.json_schema))
    elif form.regex is not None and "/" not in form.regex:
        answer = f"/{form.regex}/"
    else:
        return form
    return Constraint(lark=f'start: ("\\n" | "\\n\\n")? answer\nanswer: {answer}\n')
