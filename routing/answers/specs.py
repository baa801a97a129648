"""How a caller names the kind of answer that votes: `"number"`, or an object with its options."""

from typing import Annotated, Any, Literal

import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

MAX_CHOICES = 26
MAX_CHOICE_CHARS = 200
MAX_PATTERN_CHARS = 256
MAX_PATTERN_MEMORY = 1 << 20
DEFAULT_PATTERN = r"(?i)\banswer\s*:\s*(.+)"


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NumberAnswer(_Spec):
    """A number: integers, decimals, fractions; currency, percent sign and unit are ignored."""

    type: Literal["number"] = "number"


class ExactAnswer(_Spec):
    """The text of the answer line, compared without case, outer punctuation and spacing."""

    type: Literal["exact"] = "exact"


class ChoiceAnswer(_Spec):
    """One of the offered choices.

    choices: a list of them, or an object from label to the option's text. Without it the lettered
    options of the question count ("A) ... B) ..."), and when it has none, A to E.
    """

    type: Literal["choice"] = "choice"
    choices: dict[str, str] | None = None

    @field_validator("choices", mode="before")
    @classmethod
    def _as_mapping(cls, value: object) -> object:
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            if len({item.strip().casefold() for item in value}) != len(value):
                raise ValueError("choices must differ from each other")
            return dict.fromkeys(value, "")
        return value

    @field_validator("choices")
    @classmethod
    def _bounded(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is None:
            return None
        if not 2 <= len(value) <= MAX_CHOICES:
            raise ValueError(f"choices must be 2 to {MAX_CHOICES}, got {len(value)}")
        for label, text in value.items():
            if not label.strip():
                raise ValueError("a choice must not be empty")
            if len(label) > MAX_CHOICE_CHARS or len(text) > MAX_CHOICE_CHARS:
                raise ValueError(f"a choice must have at most {MAX_CHOICE_CHARS} characters")
        if len({label.strip().casefold() for label in value}) != len(value):
            raise ValueError("choices must differ from each other, also without regard to case")
        return value


class MarkerAnswer(_Spec):
    """What a regular expression finds last: its first group, or the whole match.

    RE2 syntax (linear time, no look-around, no back-references).
    """

    type: Literal["marker"] = "marker"
    pattern: str = Field(default=DEFAULT_PATTERN, max_length=MAX_PATTERN_CHARS)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        compile_pattern(value)
        return value


def compile_pattern(pattern: str) -> Any:
    """Raises ValueError, in one line, for what RE2 refuses: bad syntax or too large a program."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY
    try:
        return re2.compile(pattern, options=options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if isinstance(error, re2.error) else "not valid Unicode"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"the pattern is not a valid RE2 expression: {text}") from None


def _by_name(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


AnswerSpec = Annotated[
    NumberAnswer | ChoiceAnswer | ExactAnswer | MarkerAnswer,
    Field(discriminator="type"),
]

# A bare name stands for the kind with its defaults.
AnswerField = Annotated[AnswerSpec, BeforeValidator(_by_name)]
