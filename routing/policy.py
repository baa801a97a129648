"""What a caller may ask of the vote, and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from routing import stopping
from routing.answers.specs import AnswerField, ExactAnswer
from routing.stopping import Route

MAX_K = 64
MAX_SEED = 2**63 - 1
DEFAULT_K = 16
DEFAULT_TAU = Fraction(6, 10)
MAX_TAU_CHARS = 32
MIN_TAU_EXPONENT = -30

Plan = Literal["greedy_first", "all"]


def exact_tau(value: object) -> Fraction:
    """A threshold in [0, 1] as the decimal that was written: .29 is 29/100, not the float.

    Accepts numbers and strings ("0.6", "2/3"). Raises ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal | Fraction):
        raise ValueError('tau must be a number or a decimal string such as "0.6"')
    tau = value if isinstance(value, Fraction) else _parse_tau(value)
    if not 0 <= tau <= 1:
        raise ValueError("tau must be between 0 and 1")
    return tau


def _parse_tau(value: float | str | Decimal) -> Fraction:
    # repr of a float is its shortest decimal spelling, which is what the caller wrote.
    text = repr(value) if isinstance(value, float) else str(value).strip()
    if len(text) > MAX_TAU_CHARS:
        raise ValueError(f"tau must have at most {MAX_TAU_CHARS} characters")
    try:
        if "/" in text:
            return Fraction(text)
        decimal = Decimal(text)
    except (InvalidOperation, ValueError, ZeroDivisionError):
        raise ValueError(f"tau is not a number: {text!r}") from None
    # Before Fraction, which would write 1e999999999 out in full.
    if not decimal.is_finite() or decimal > 1:
        raise ValueError("tau must be between 0 and 1")
    if decimal and decimal.adjusted() < MIN_TAU_EXPONENT:
        raise ValueError(f"tau is too close to 0: use 0, or at least 1e{MIN_TAU_EXPONENT}")
    return Fraction(decimal)


Tau = Annotated[
    Fraction,
    PlainValidator(exact_tau),
    PlainSerializer(float, return_type=float),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
]


def _either_case(snake: str, camel: str) -> AliasChoices:
    return AliasChoices(snake, camel)


class RoutingPolicy(BaseModel):
    """Uncertainty routing as a caller asks for it. Immutable; unknown fields are errors.

    An answer wins when more than tau of k paths give it, that is at least `threshold` of them;
    otherwise the greedy answer is returned. `min_votes` gives that number directly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", loc_by_alias=False)

    k: int = Field(
        default=DEFAULT_K, ge=1, le=MAX_K, strict=True, description="Paths of reasoning to poll."
    )
    tau: Tau | None = Field(
        default=None,
        description="An answer needs strictly more than this share of the k paths. "
        f"Default {float(DEFAULT_TAU)}, unless min_votes is given.",
    )
    min_votes: int | None = Field(
        default=None,
        ge=1,
        le=MAX_K + 1,
        strict=True,
        validation_alias=_either_case("min_votes", "minVotes"),
        description="Votes an answer needs, instead of tau.",
    )
    answer: AnswerField = Field(
        default_factory=ExactAnswer,
        description='What votes: "number", "choice", "exact", "marker", or an object such as '
        '{"type": "choice", "choices": ["yes", "no"]}.',
    )
    plan: Plan = Field(
        default="greedy_first",
        description="greedy_first stops as soon as the answer is certain; all runs every path.",
    )
    temperature: float = Field(default=0.7, gt=0, le=2, description="Of the k paths.")
    top_p: float = Field(default=0.95, gt=0, le=1, validation_alias=_either_case("top_p", "topP"))
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        validation_alias=_either_case("max_tokens", "maxTokens"),
        description="Per path.",
    )
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, strict=True)

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.tau is not None and self.min_votes is not None:
            raise ValueError("give tau or min_votes, not both")
        if self.min_votes is not None and self.min_votes > self.k + 1:
            raise ValueError(
                f"min_votes must be at most k + 1 = {self.k + 1}, which no answer can reach"
            )
        return self

    @property
    def threshold(self) -> int:
        """The votes that an answer needs to win (m)."""
        if self.min_votes is not None:
            return self.min_votes
        return stopping.min_votes(self.k, DEFAULT_TAU if self.tau is None else self.tau)

    @property
    def share(self) -> float | None:
        """tau as reported; None when the caller gave min_votes."""
        if self.min_votes is not None:
            return None
        return float(DEFAULT_TAU if self.tau is None else self.tau)


@dataclass(frozen=True)
class Samples:
    """What became of the k paths: run to the end, stopped while running, never started.

    invalid: of those run, how many gave no vote.
    """

    run: int
    stopped: int
    saved: int
    invalid: int


@dataclass(frozen=True)
class Decision:
    """The outcome of a vote.

    answer: canonical; None when the route is greedy and the greedy text has no usable answer.
    consensus: the share of the most frequent answer, as the interval that k finished paths could
    end with; a point when all k ran. votes: the winner first. calibration: id of the calibration
    in force, if any.
    """

    route: Route
    answer: str | None
    consensus: tuple[float, float]
    votes: Mapping[str, int]
    k: int
    tau: float | None
    min_votes: int
    samples: Samples
    calibration: str | None = None

    def to_response(self) -> dict[str, Any]:
        """The `uncertainty_routing` object of every protocol, ready for JSON."""
        return {
            "route": self.route,
            "answer": self.answer,
            "consensus": list(self.consensus),
            "votes": dict(self.votes),
            "k": self.k,
            "tau": self.tau,
            "min_votes": self.min_votes,
            "samples": {
                "run": self.samples.run,
                "stopped": self.samples.stopped,
                "saved": self.samples.saved,
                "invalid": self.samples.invalid,
            },
            "calibration": self.calibration,
        }
