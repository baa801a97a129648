"""What a request says of reasoning, from any protocol's words."""

from dataclasses import dataclass
from typing import Literal

from service.errors import ApiError

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

EFFORT_TOKENS: dict[Effort, int] = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
"""The most tokens of reasoning by effort; "xhigh" and "max" have no such bound."""


@dataclass(frozen=True, slots=True)
class Wish:
    """effort: how much, in a word. budget: the most tokens of reasoning, 0 for none of it.
    switch: on or off. show: whether the reply has it. show_vote: whether that of a routed question
    also has how the vote went. param: the field that asks for it, in the protocol's words.

    Raises ApiError where its parts contradict each other.
    """

    effort: Effort | None = None
    budget: int | None = None
    switch: bool | None = None
    show: bool = True
    show_vote: bool = False
    param: str = "reasoning_effort"

    def __post_init__(self) -> None:
        if self.off and self.on:
            raise ApiError(
                "invalid",
                "reasoning is asked for and turned off in the same request",
                param=self.param,
            )

    @property
    def off(self) -> bool:
        return self.switch is False or self.effort == "none" or self.budget == 0

    @property
    def on(self) -> bool:
        return self.switch is True or self.effort not in (None, "none") or bool(self.budget)

    @property
    def weighs(self) -> bool:
        """Whether it says how much, for what a routed question may cost."""
        return self.effort not in (None, "none") or bool(self.budget)

    @property
    def most_tokens(self) -> int | None:
        """Of reasoning; None without a bound."""
        if self.budget is not None:
            return self.budget
        return None if self.effort is None else EFFORT_TOKENS.get(self.effort)


NO_WISH = Wish()
