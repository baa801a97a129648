"""What an extractor is: from a model's text to one canonical answer, or an honest refusal."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

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


@dataclass(frozen=True)
class FinalLine:
    """What may follow "Answer: " on the last line, for a decoder that can be constrained.

    regex: in the syntax that RE2, Rust's regex and Python's re share, without look-around.
    json_schema: instead of it, a schema without references. Every text that fits is read with
    status "ok" by the extractor that gave it.
    """

    regex: str | None = None
    json_schema: dict[str, Any] | None = None


class Extractor(Protocol):
    """Reads answers of one kind. Total (never raises on any text), of linear time, thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def form(self) -> str | None:
        """What stands after "Answer: " in the contract line, for instructions: "<number>".

        None: the caller's own words say how to answer, and no contract line is asked for.
        """
        ...

    @property
    def final_line(self) -> FinalLine | None:
        """The same as a grammar; None without a contract line."""
        ...

    @property
    def blocking(self) -> bool:
        """Whether `extract` may take seconds: not to be called on an event loop."""
        ...

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        """truncated: the text ended by its length limit, so its last line may be incomplete."""
        ...
