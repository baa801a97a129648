"""How a caller names the kind of answer that votes: `"number"`, or an object with its options."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from routing.answers import math_process, pointer
from routing.answers.boolean import FALSE_WORDS, TRUE_WORDS
from routing.answers.patterns import DEFAULT_PATTERN, MAX_PATTERN_CHARS, compile_pattern
from routing.answers.phrases import fold

MAX_CHOICES = 26
MAX_CHOICE_CHARS = 200
MAX_LABELS = 64
MAX_SYNONYMS = 16
MAX_LABEL_CHARS = 100


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


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

    RE2 syntax (linear time, no look-around, no back-references). "regex" is another name of it.
    """

    type: Literal["marker", "regex"] = "marker"
    pattern: str = Field(default=DEFAULT_PATTERN, max_length=MAX_PATTERN_CHARS)

    @field_validator("type")
    @classmethod
    def _one_name(cls, _: str) -> str:
        return "marker"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        compile_pattern(value)
        return value


class BooleanAnswer(_Spec):
    """Yes or no. true, false: the two votes, and words that are understood beside English ones."""

    type: Literal["boolean"] = "boolean"
    true: str = Field(default="yes", max_length=MAX_LABEL_CHARS)
    false: str = Field(default="no", max_length=MAX_LABEL_CHARS)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        true, false = fold(self.true), fold(self.false)
        if not true or not false:
            raise ValueError("true and false must not be empty")
        if true == false:
            raise ValueError("true and false must differ from each other")
        if true in FALSE_WORDS or false in TRUE_WORDS:
            raise ValueError("true must not be a word for no, nor false one for yes")
        return self


class LabelAnswer(_Spec):
    """One label of a set. labels: a list, or an object from label to its synonyms."""

    type: Literal["label"] = "label"
    labels: dict[str, tuple[str, ...]]

    @field_validator("labels", mode="before")
    @classmethod
    def _as_mapping(cls, value: object) -> object:
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            if len(set(value)) != len(value):
                raise ValueError("labels must differ from each other")
            return dict.fromkeys(value, ())
        return value

    @field_validator("labels")
    @classmethod
    def _bounded(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not 2 <= len(value) <= MAX_LABELS:
            raise ValueError(f"labels must be 2 to {MAX_LABELS}, got {len(value)}")
        if any(len(synonyms) > MAX_SYNONYMS for synonyms in value.values()):
            raise ValueError(f"a label must have at most {MAX_SYNONYMS} synonyms")
        names: dict[str, str] = {}
        for label, synonyms in value.items():
            for name in (label, *synonyms):
                if not fold(name) or len(name) > MAX_LABEL_CHARS:
                    raise ValueError(
                        f"a label or synonym must have 1 to {MAX_LABEL_CHARS} characters"
                    )
                if names.setdefault(fold(name), label) != label:
                    raise ValueError("labels and synonyms must differ, also without regard to case")
        return value


class BoxedAnswer(_Spec):
    r"""The inside of the last \boxed{...} as LaTeX under one spelling; numbers by value."""

    type: Literal["boxed"] = "boxed"


class MathAnswer(_Spec):
    """Mathematics by value: fractions, roots, expressions, sets, pairs, intervals."""

    type: Literal["math"] = "math"

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if not math_process.available():
            raise ValueError('the kind "math" needs an extra: pip install "pollux[math]"')
        return self


class JsonAnswer(_Spec):
    """A JSON value. schema: what it must be like. pointer: which part of it votes (RFC 6901)."""

    type: Literal["json"] = "json"
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    pointer: str = Field(default="", max_length=pointer.MAX_POINTER_CHARS)

    @field_validator("json_schema")
    @classmethod
    def _harmless(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            # Only who brings a schema pays for the import.
            from routing.answers.json_schema import checked

            checked(value)
        return value

    @field_validator("pointer")
    @classmethod
    def _is_pointer(cls, value: str) -> str:
        pointer.parsed(value)
        return value


class AutoAnswer(_Spec):
    """The kind that the question looks like it asks for."""

    type: Literal["auto"] = "auto"


def _by_name(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


AnswerSpec = Annotated[
    NumberAnswer
    | ChoiceAnswer
    | ExactAnswer
    | MarkerAnswer
    | BooleanAnswer
    | LabelAnswer
    | BoxedAnswer
    | MathAnswer
    | JsonAnswer
    | AutoAnswer,
    Field(discriminator="type"),
]

# A bare name stands for the kind with its defaults.
AnswerField = Annotated[AnswerSpec, BeforeValidator(_by_name)]
