"""What every system is asked to do, as data."""

from dataclasses import dataclass

from benchmarks import measurement as m

SHORT_PROMPT = 24
PROMPT, NEW = 296, 64


@dataclass(frozen=True)
class Prefill:
    """One prompt of so many tokens, one token of answer."""

    name: str
    prompt: int
    repeats: int
    headline: str = m.PREFILL_RATE


@dataclass(frozen=True)
class Generate:
    """`requests` requests at once, each with `paths` answers of `new` tokens.

    one_prompt: all requests have the same prompt. prompt_seen: it was asked before, so that a
    prompt cache holds it.
    """

    name: str
    requests: int
    paths: int
    repeats: int
    prompt: int = PROMPT
    new: int = NEW
    one_prompt: bool = False
    prompt_seen: bool = False
    headline: str = m.TOTAL_RATE

    @property
    def rows(self) -> int:
        return self.requests * self.paths


@dataclass(frozen=True)
class FirstTokenUnderLoad:
    """A short new request, again and again, while `paths` paths of one prompt run."""

    name: str
    paths: int
    probes: int
    prompt: int = PROMPT
    new: int = NEW
    repeats: int = 1
    headline: str = m.FIRST_P50


@dataclass(frozen=True)
class GapUnderPrefill:
    """One stream's gaps between tokens, while a long prompt is prefilled and before it is."""

    name: str
    long_prompt: int
    prompt: int = PROMPT
    quiet_tokens: int = 32
    repeats: int = 2
    headline: str = m.SLOWDOWN


Workload = Prefill | Generate | FirstTokenUnderLoad | GapUnderPrefill


def is_long(workload: Workload) -> bool:
    """Needs contexts of tens of thousands of tokens, and few of them."""
    return isinstance(workload, GapUnderPrefill) or workload.prompt > 1024


PREFILL = Prefill("prefill, 296 tokens", PROMPT, repeats=3)
ONE = Generate("one stream", 1, 1, repeats=3)
EIGHT = Generate("8 streams", 8, 1, repeats=2)
REQUESTS = Generate("32 requests", 32, 1, repeats=1)
PATHS = Generate("32 paths of one prompt", 1, 32, repeats=3)
PATHS_SEEN = Generate("32 paths, prompt seen before", 1, 32, repeats=2, prompt_seen=True)
SAME_SEEN = Generate(
    "32 requests, one prompt, seen before", 32, 1, repeats=2, one_prompt=True, prompt_seen=True
)
LOADED = FirstTokenUnderLoad("new request while 32 paths run", 32, probes=24)
GAP = GapUnderPrefill("one stream while 4K tokens are prefilled", 4096)
PREFILL_4K = Prefill("prefill, 4K tokens", 4096, repeats=2)
PREFILL_32K = Prefill("prefill, 32K tokens", 32_000, repeats=1)

ALL: tuple[Workload, ...] = (
    PREFILL,
    ONE,
    EIGHT,
    REQUESTS,
    PATHS,
    PATHS_SEEN,
    SAME_SEEN,
    LOADED,
    GAP,
    PREFILL_4K,
    PREFILL_32K,
)
QUICK: tuple[Workload, ...] = (PREFILL, ONE, EIGHT, PATHS, PATHS_SEEN, SAME_SEEN)
