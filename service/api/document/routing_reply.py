"""What came out of a vote, for the OpenAPI document. Its fields: docs/api.md, "The response"."""

from typing import Literal

from pydantic import BaseModel


class SamplesReply(BaseModel):
    run: int
    stopped: int
    saved: int
    invalid: int


class RoutingReply(BaseModel):
    """consensus: lowest and highest share that the leading answer can end with."""

    route: Literal["majority", "greedy", "either", "abstain", "best_effort"]
    answer: str | None
    answer_type: str
    consensus: tuple[float, float]
    votes: dict[str, int]
    k: int
    tau: float | None
    min_votes: int
    samples: SamplesReply
    limited_by: Literal["paths", "tokens", "deadline"] | None
    calibration: str | None
