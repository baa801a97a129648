"""What the scheduler keeps of a group: its trunk (the prompt, prefilled once) and its paths."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto

from model.contract import Group, PathRequest, TokenLogprob
from model.engine.constraints import AnyGrammar
from model.engine.guide import Guide
from model.engine.hidden import HiddenSum
from model.engine.images import Images, page_content
from model.engine.pages import FIRST_KEY, BlockTables, page_key
from model.engine.stops import OutputText

Compiled = dict[tuple[str, str] | None, Future[AnyGrammar]]
"""The grammars of a group, by kind and text; None is the one of constraints without any."""


class Stage(Enum):
    """Where a trunk or a path stands. A preempted one is WAITING again."""

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(eq=False, kw_only=True)
class Sequence:
    """Token ids with their pages. Positions below `computed` have their KV written, or will have
    before the next step reads them.

    unknown: how many tokens at the end have been sampled by steps whose results are not here yet.
    keys: of its full pages, as far as they were needed (see `pages.page_key`). published: how many
    of its pages others may find by them.
    """

    tokens: list[int]
    tables: BlockTables
    computed: int = 0
    stage: Stage = Stage.WAITING
    unknown: int = 0
    first_key: bytes = FIRST_KEY
    """What comes before the first page's key: the scope in which pages are shared."""
    keys: list[bytes] = field(default_factory=list)
    published: int = 0
    images: Images = ()

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.computed

    def page_keys(self, pages: int, size: int) -> list[bytes]:
        """Keys of the first so many pages of so many tokens, which must be full of known tokens."""
        keys = self.keys
        for page in range(len(keys), pages):
            before = keys[-1] if keys else self.first_key
            start, end = page * size, (page + 1) * size
            media = page_content(self.images, start, end)
            keys.append(page_key(before, self.tokens[start:end], media))
        return keys[:pages]

    @property
    def settled(self) -> int:
        """The first position that may still be asked for; what only those before it see can go."""
        return self.computed


@dataclass(eq=False, kw_only=True)
class Trunk(Sequence):
    """A group's prompt, computed up to its last token, which every path computes for itself.

    Its pages stay until the group ends, so that paths can fork late.
    """

    scores: list[TokenLogprob] = field(default_factory=list)
    cached: int = 0
    """How many of its tokens were found computed when it started."""
    alternatives: int = 0
    """How many likeliest tokens each scored position wants."""
    spare: int = 0
    """Positions before its end at which another may go on, so that windows stay for those too."""
    spare_pages: int = 0
    """The same in pages."""

    @property
    def settled(self) -> int:
        return max(0, self.computed - self.spare)

    @property
    def ready(self) -> bool:
        return self.stage is Stage.RUNNING and self.pending == 1


@dataclass(eq=False, kw_only=True)
class Path(Sequence):
    """One continuation: the prompt's tokens, its own suffix, then generated ones."""

    request: PathRequest
    output: OutputText
    group: "GroupState"
    started: int = 0
    """Order of (re)start over the whole engine: the latest gives way when pages run out."""
    row: int = -1
    """Of the step in flight, the output that samples this path's newest token."""
    guide: Guide | None = None
    """Of a path under a constraint, once its grammar is compiled."""
    void: int = 0
    """How many of the next results are of tokens that do not stand in the path any more."""

    @property
    def base(self) -> int:
        """Tokens before the first generated one."""
        return self.group.prompt_length + len(self.request.suffix)

    @property
    def steered(self) -> bool:
        """Its next token needs a mask, for which all tokens before it must be known."""
        return self.guide is not None and self.guide.steered

    @property
    def settled(self) -> int:
        if self.guide is None:
            return self.computed
        # Other tokens may come to stand where those are that are not known.
        return min(self.computed, len(self.tokens) - self.unknown)

    @property
    def can_sample(self) -> bool:
        return self.pending == 1 and self.wants_more and not (self.steered and self.unknown)

    @property
    def wants_more(self) -> bool:
        """Not as long as it may get, counting what is being sampled."""
        return len(self.tokens) - self.base < self.request.sampling.max_tokens


@dataclass(eq=False, kw_only=True)
class GroupState:
    """A submitted group. Times are seconds on the worker's monotonic clock."""

    group: Group
    trunk: Trunk
    arrival: int
    submitted_at: float
    deadline: float | None
    open: bool
    paths: dict[int, Path] = field(default_factory=dict)
    compiled: Compiled = field(default_factory=dict)
    grammars: dict[int, Future[AnyGrammar]] = field(default_factory=dict)
    """By path, those that have to be compiled before any path starts."""
    embedding: HiddenSum | None = None
    """Of a group that asked for its prompt's hidden state, until that is told."""
    announced: bool = False
    told_held: bool = False
    scored: bool = False

    @property
    def id(self) -> str:
        return self.group.id

    @property
    def prompt_length(self) -> int:
        return len(self.trunk.tokens)

    @property
    def unscored(self) -> bool:
        """The prompt's scores are wanted and have not all been told."""
        return self.group.prompt_logprobs is not None and not self.scored

    @property
    def running(self) -> list[Path]:
        return [path for path in self.paths.values() if path.stage is Stage.RUNNING]

    @property
    def waiting(self) -> list[Path]:
        return [path for path in self.paths.values() if path.stage is Stage.WAITING]

    @property
    def startable(self) -> list[Path]:
        """Waiting, with all their tokens known and more wanted."""
        if self.grammars:
            return []
        return [path for path in self.waiting if not path.unknown and path.wants_more]

    @property
    def alone(self) -> bool:
        """One path and no more to come: it takes the trunk's pages over instead of a copy."""
        return len(self.paths) == 1 and not self.open

    @property
    def held(self) -> bool:
        """Its prefix is complete, and stays until the group ends."""
        return self.group.hold and self.trunk.ready

    @property
    def to_hold(self) -> bool:
        """Its prefix is to be held and is not complete yet."""
        return self.group.hold and not self.trunk.ready

    @property
    def idle(self) -> bool:
        """Nothing to compute now; an open group may get more paths."""
        return self._finished and not self.to_hold

    @property
    def done(self) -> bool:
        return not self.open and self._finished

    @property
    def _finished(self) -> bool:
        finished = all(path.stage is Stage.FINISHED for path in self.paths.values())
        return finished and self.embedding is None
