"""What an extractor is: from a model's text to one canonical answer, or an honest refusal."""

from dataclasses import dataclass
from typing import Literal, Protocol

ExtractionStatus = Literal["ok", "invalid", "ambiguous", "truncated"]


@dataclass(frozen=True)
class Extraction:
    """One answer found in a text, or why there is none.

    raw: the characters it was read from, text[span[0]:span[1]]. canonical: the key under which
    equal answers vote together, None unless status is "ok", never empty. method: how it was
    found ("contract", "phrase", ...). truncated: the text was cut before the answer was whole.
    """

    raw: str
    canonical: str | None
    span: tuple[int, int] | None
    method: str
    status: ExtractionStatus

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.canonical):
            raise ValueError("a canonical answer goes with status ok, and only with it")

    @property
    def vote(self) -> str | None:
        return self.canonical


def nothing(method: str, *, truncated: bool) -> Extraction:
    """No answer in the text."""
    return Extraction("", None, None, method, "truncated" if truncated else "invalid")


class Extractor(Protocol):
    """Reads answers of one kind. Pure, total (never raises on any text) and of linear time."""

    @property
    def name(self) -> str: ...

    @property
    def form(self) -> str | None:
        """What stands after "Answer: " in the contract line, for instructions: "<number>".

        None: the caller's own words say how to answer, and no contract line is asked for.
        """
        ...

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        """truncated: the text ended by its length limit, so its last line may be incomplete."""
        ...
