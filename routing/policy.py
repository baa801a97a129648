"""What a caller may ask of the vote. What comes out of it is in `routing.decision`."""

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from routing import stopping
from routing.answers.specs import AnswerField, AutoAnswer
from routing.confidence import Weighting
from routing.decision import Decision, Samples
from routing.lossy import DEFAULT_EPSILON
from routing.stopping import OnDisagreement

__all__ = ["Budget", "Decision", "Plan", "RoutingPolicy", "Samples", "exact_tau"]

MAX_K = 64
MAX_SEED = 2**63 - 1
MAX_TOKENS = 2**63 - 1
DEFAULT_K = 16
DEFAULT_TAU = Fraction(6, 10)
MAX_TAU_CHARS = 32
MIN_TAU_EXPONENT = -30

MAX_DEADLINE_S = 86_400

Plan = Literal["greedy_first", "throughput", "latency", "full", "lossy"]


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


def _without_alias(value: object) -> object:
    return "full" if value == "all" else value


class Budget(BaseModel):
    """What a routed question may cost at most; at its end the rule is applied to what is there."""

    model_config = ConfigDict(frozen=True, extra="forbid", loc_by_alias=False)

    paths: int | None = Field(
        default=None, ge=1, le=MAX_K, strict=True, description="Paths started."
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TOKENS,
        strict=True,
        description="Tokens sampled, of the direct answer and all paths together.",
    )
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=MAX_DEADLINE_S,
        allow_inf_nan=False,
        validation_alias=_either_case("deadline_s", "deadlineS"),
        description="Seconds from the start of the routed question.",
    )


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
        default_factory=AutoAnswer,
        description='What votes: a kind such as "number", an object with its options such as '
        '{"type": "choice", "choices": ["red", "blue"]}, or "auto": as the question looks.',
    )
    plan: Annotated[Plan, BeforeValidator(_without_alias)] = Field(
        default="greedy_first",
        description="greedy_first stops as soon as the answer is certain, with a few paths ahead; "
        "throughput starts none in vain; latency starts all at once; full runs all to their end; "
        "lossy stops when the answer is likely enough.",
    )
    epsilon: float | None = Field(
        default=None,
        gt=0,
        le=0.5,
        description=f"With the plan lossy: the risk of another answer. Default {DEFAULT_EPSILON}.",
    )
    budget: Budget = Field(default_factory=Budget, description="Limits of what is spent.")
    on_disagreement: OnDisagreement = Field(
        default="greedy",
        validation_alias=_either_case("on_disagreement", "onDisagreement"),
        description="Without consensus: the direct answer, no answer, or the most frequent one.",
    )
    weighting: Weighting | None = Field(
        default=None, description="Votes weigh by confidence, and all k paths run."
    )
    include_paths: bool = Field(
        default=False,
        validation_alias=_either_case("include_paths", "includePaths"),
        description="The response has the text of every path that ran to its end.",
    )
    part_metadata: bool = Field(
        default=False,
        validation_alias=_either_case("part_metadata", "partMetadata"),
        description="Gemini: the steps of the vote also ride on parts[].partMetadata.",
    )
    constrain: bool = Field(
        default=False, description="Hold each text to a form that an answer can be read from."
    )
    temperature: float = Field(default=0.7, gt=0, le=2, description="Of the k paths.")
    top_p: float = Field(default=0.95, gt=0, le=1, validation_alias=_either_case("top_p", "topP"))
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TOKENS,
        strict=True,
        validation_alias=_either_case("max_tokens", "maxTokens"),
        description="Per path.",
    )
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _weighing_runs_all(cls, data: Any) -> Any:
        """A weighted vote without a plan has the one plan that it can have."""
        if isinstance(data, dict) and data.get("weighting") is not None and "plan" not in data:
            return {**data, "plan": "full"}
        return data

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if self.weighting is not None and self.plan != "full":
            raise ValueError("weighting needs every path: leave the plan out, or let it be full")
        if self.epsilon is not None and self.plan != "lossy":
            raise ValueError("epsilon is for the plan lossy")
        if self.plan == "lossy" and self.on_disagreement != "greedy":
            raise ValueError(
                "the plan lossy weighs a majority against the direct answer: "
                "on_disagreement must be greedy"
            )
        return self

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
        return stopping.min_votes(self.k, self.exact_share)

    @property
    def exact_share(self) -> Fraction:
        """The share that an answer must be above, of any number of paths."""
        if self.min_votes is not None:
            return Fraction(self.min_votes - 1, self.k)
        return DEFAULT_TAU if self.tau is None else self.tau

    @property
    def risk(self) -> float:
        """epsilon of the plan lossy."""
        return DEFAULT_EPSILON if self.epsilon is None else self.epsilon

    @property
    def most_paths(self) -> int:
        """Paths that may be started: k, or fewer by the budget."""
        return min(self.k, self.budget.paths or self.k)

    @property
    def share(self) -> float | None:
        """tau as reported; None when the caller gave min_votes."""
        if self.min_votes is not None:
            return None
        return float(DEFAULT_TAU if self.tau is None else self.tau)
