"""A device that checks what it is asked: pages hold tokens, and every read is compared."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from model.contract import (
    Event,
    Group,
    GroupClosed,
    GroupFailed,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
)
from model.engine.advance import guides_of
from model.engine.constraints import Constraints, Grammar
from model.engine.engine import Engine
from model.engine.guide import Guide, Masks
from model.engine.images import Images
from model.engine.pages import NULL_PAGE, PagedMemory
from model.engine.plan import Chunk, Output, RowResult, StepPlan
from model.engine.scheduler import Limits, Scheduler
from model.engine.sequences import Path
from model.engine.stops import OutputText
from model.nn.blocks import QUERY_BLOCK
from model.spec import VisionSpec
from model.text.assets import TextAssets

VOCAB = 64
EOS = 63


class LetterTokenizer:
    """Token i is the i-th of 62 letters and digits, 62 is a newline, 63 is end-of-sequence."""

    vocab_size = VOCAB
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789\n"

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        """What it has no token for is lost, as with real vocabularies that lack bytes."""
        return [self.letters.index(letter) for letter in text if letter in self.letters]

    def token_bytes(self, token: int) -> bytes:
        return b"" if token == EOS else self.letters[token].encode()

    def piece(self, token: int) -> str:
        return self.token_bytes(token).decode()

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.piece(token) for token in tokens)


class LetterText:
    """The part of a TextModel that an engine uses."""

    tokenizer = LetterTokenizer()
    eos = (EOS,)
    assets = TextAssets(kind="bpe", payload=b"", vocab_size=VOCAB, control={}, eos=(EOS,))


CONSTRAINTS = Constraints.of(LetterText(), VOCAB)
"""Shared, so that a grammar of many tests is compiled once."""


def next_token(context: Sequence[int], seed: int, mask: np.ndarray | None = None) -> int:
    """The double's model: any change of context or seed changes the token. mask: of the tokens that
    it may be, as bits; one of nothing restricts nothing."""
    position = len(context)
    digest = hashlib.blake2b(repr((list(context), seed, position)).encode(), digest_size=4)
    drawn = int.from_bytes(digest.digest(), "little")
    allowed = [] if mask is None else unpacked(mask)
    return allowed[drawn % len(allowed)] if allowed else drawn % VOCAB


def hidden_state(context: Sequence[int]) -> tuple[float, float]:
    """The double's hidden state behind these tokens."""
    return float(len(context)), float(next_token(context, 0))


def unpacked(mask: np.ndarray) -> list[int]:
    """The ids whose bits are set."""
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()


def guided_tokens(
    prompt: Sequence[int], path: PathRequest, grammar: Grammar
) -> tuple[tuple[int, ...], str]:
    """What a path under a constraint generates in all, and why it ends: one token after the other,
    each known before the next."""
    sampling = path.sampling
    guide = Guide(sampling, grammar, path.generated)
    output = OutputText(sampling, LetterTokenizer(), (EOS,), path.generated)
    tokens = list(path.generated)
    while len(tokens) < sampling.max_tokens:
        mask = Masks().of({0: guide})[0] if guide.steered else None
        if guide.stuck:
            return tuple(tokens), "length"
        token = next_token([*prompt, *path.suffix, *tokens], sampling.seed, mask)
        for placed in guide.place(token, output.would_end(token)):
            tokens.append(placed)
            finish = output.push(placed)[1]
            if finish is not None and finish.reason == "stop":
                return tuple(tokens), "stop"
        if guide.complete:
            return tuple(tokens), "stop"
    return tuple(tokens), "length"


def expected_tokens(
    prompt: Sequence[int], path: PathRequest, eos: int | None = EOS
) -> tuple[int, ...]:
    """What the path generates in all, tokens of an earlier worker included."""
    generated = list(path.generated)
    while len(generated) < path.sampling.max_tokens:
        token = next_token([*prompt, *path.suffix, *generated], path.sampling.seed)
        generated.append(token)
        if token == eos and not path.sampling.ignore_eos:
            break
    return tuple(generated)


def seen_by_model(tokens: Sequence[int], images: Images) -> list:
    """The tokens, with what an image shows in place of its placeholders."""
    seen = list(tokens)
    for image in images:
        for at in range(image.start, min(image.end, len(seen))):
            seen[at] = (image.segment.hash, at - image.start)
    return seen


class CheckingRunner:
    """Pages hold (position, token). A query's visible context must be what its sequence says.
    A token of an image is its hash, and sees all of the image, which the chunk must hold.

    Like a device it takes the next step before it tells what came of the one before, and knows
    the newest tokens when the host does not.
    """

    def __init__(self, memory: PagedMemory) -> None:
        self.memory = memory
        self.written: list[dict[int, list[tuple[int, int] | None]]] = [{} for _ in memory.pools]
        self.most_rows = 0
        self.mixed_steps = 0
        self.untold = 0
        self.pooled: list[list[int]] = []
        self.images_read = 0
        self._carry: list[int] = []

    def run(self, plan: StepPlan) -> Callable[[], list[RowResult]]:
        assert self.untold <= 1, "more than one step runs ahead of what the host knows"
        self.untold += 1
        self._copy(plan)
        texts = {chunk: self._text(chunk) for chunk in plan.everything}
        for chunk, text in texts.items():
            for position in range(chunk.start, chunk.start + chunk.count):
                self._write(chunk.sequence, position, text[position])
        for chunk in plan.everything:
            self._look_at_images(chunk, texts[chunk])
        self.most_rows = max(self.most_rows, len(plan.rows))
        self.mixed_steps += bool(plan.rows and plan.chunks)
        masks = Masks().of(guides_of(plan.outputs))
        results = [
            self._output(output, texts[output.chunk], masks.get(at))
            for at, output in enumerate(plan.outputs)
        ]
        self._carry = [result.token for result in results]
        return lambda: self._tell(results)

    def pool(self, plan: StepPlan) -> Callable[[], list[np.ndarray]]:
        """A hidden state is its position and a hash of all tokens up to there."""
        assert plan.pooled
        assert not plan.rows
        assert not plan.outputs
        assert self.untold <= 1, "more than one step runs ahead of what the host knows"
        self.untold += 1
        self._copy(plan)
        self.pooled.append([chunk.count for chunk in plan.chunks])
        results = []
        for chunk in plan.chunks:
            text = self._text(chunk)
            end = chunk.start + chunk.count
            for position in range(chunk.start, end):
                self._write(chunk.sequence, position, text[position])
            for position in range(chunk.start, end):
                self._look(chunk, text, position)
            states = np.array([hidden_state(text[: at + 1]) for at in range(chunk.start, end)])
            states = np.pad(states, ((0, -chunk.count % QUERY_BLOCK), (0, 0)))
            results.append(states.reshape(-1, QUERY_BLOCK, 2).sum(axis=1))
        return lambda: self._tell(results)

    def _tell(self, results):
        self.untold -= 1
        return results

    def _text(self, chunk: Chunk) -> list[int]:
        """The sequence's tokens as the device has them."""
        tokens = list(chunk.sequence.tokens[: chunk.start + chunk.count])
        unknown = chunk.sequence.unknown
        assert unknown <= 1
        assert (unknown == 1) == (chunk.feed >= 0), "the newest token is somewhere else"
        path = chunk.sequence
        assert not (unknown and isinstance(path, Path) and path.steered), "a mask came too early"
        if unknown:
            assert len(tokens) == len(chunk.sequence.tokens)
            tokens[-1] = self._carry[chunk.feed]
        return seen_by_model(tokens, chunk.sequence.images)

    def _look_at_images(self, chunk: Chunk, text: list) -> None:
        for image in chunk.images:
            assert chunk.start <= image.start, "a step begins within an image"
            assert image.end <= chunk.start + chunk.count, "a step ends within an image"
            self.images_read += 1
            for position in range(image.start, image.end):
                self._look(chunk, text, position)

    def _copy(self, plan: StepPlan) -> None:
        before = [dict(pages) for pages in self.written]
        for copy in plan.copies:
            self.written[copy.kind][copy.target] = list(
                before[copy.kind].get(copy.source, self._blank())
            )

    def _blank(self) -> list[tuple[int, int] | None]:
        return [None] * self.memory.page_size

    def _write(self, sequence, position: int, token: int) -> None:
        index, offset = divmod(position, self.memory.page_size)
        for kind, table in enumerate(sequence.tables.tables):
            page = table[index]
            assert page != NULL_PAGE, "a position is written to the null page"
            assert self.memory.pools[kind].holders(page) == 1, "a shared page is written"
            content = self.written[kind].setdefault(page, self._blank())
            content[offset] = (position, token)

    def _output(self, output: Output, text: list[int], mask: np.ndarray | None) -> RowResult:
        chunk = output.chunk
        position = chunk.start + output.offset
        self._look(chunk, text, position)
        context = text[: position + 1]
        if output.path is None:
            return RowResult(output.target, -float(position + 1))
        return RowResult(next_token(context, output.path.request.sampling.seed, mask), -1.0)

    def _look(self, chunk: Chunk, text: list[int], position: int) -> None:
        for kind, window in enumerate(self.memory.windows):
            first = 0 if window is None else max(0, position - window + 1)
            for seen in range(first, position + 1):
                index, offset = divmod(seen, self.memory.page_size)
                page = chunk.sequence.tables.tables[kind][index]
                assert page != NULL_PAGE, "a visible position was dropped"
                assert self.written[kind][page][offset] == (seen, text[seen])


def make_engine(
    windows: tuple[int | None, ...] = (None, 8),
    capacities: tuple[int, ...] = (64, 64),
    page_size: int = 4,
    max_rows: int = 4,
    prefill_chunk: int = 8,
    context: int = 64,
    queue: int = 4096,
    busy_chunk: int = 5,
    prompts: int = 2,
    pooled_prompts: int = 3,
    reuse: bool = True,
    vision: VisionSpec | None = None,
) -> tuple[Engine, CheckingRunner]:
    memory = PagedMemory.of(page_size, windows, capacities)
    memory.reuse = reuse
    limits = Limits(
        max_rows, prefill_chunk, busy_chunk, prompts, score_chunk=4, pooled_prompts=pooled_prompts
    )
    scheduler = Scheduler(memory, limits)
    runner = CheckingRunner(memory)
    engine = Engine(
        scheduler,
        runner,
        LetterText(),
        VOCAB,
        context,
        queue,
        constraints=CONSTRAINTS,
        vision=vision,
    )
    return engine, runner


def group(
    name: str,
    prompt: Sequence[int],
    paths: int = 1,
    max_tokens: int = 6,
    seed: int = 0,
    **fields,
) -> Group:
    sampling = fields.pop("sampling", {})
    requests = tuple(
        PathRequest(
            index=i, sampling=SamplingParams(max_tokens=max_tokens, seed=seed + i, **sampling)
        )
        for i in range(paths)
    )
    return Group(id=name, prompt=Prompt.of_tokens(prompt), paths=requests, **fields)


def drain(engine: Engine, limit: int = 10_000) -> list[Event]:
    """Runs until nothing is left to do. Fails when the engine stands still with work to do."""
    events = engine.take_events()
    for _ in range(limit):
        if not engine.has_work:
            return events
        assert engine.step(), "the engine has work and runs nothing"
        events += engine.take_events()
    raise AssertionError("the engine does not come to an end")


class Seen:
    """Events, gathered by group and path."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = list(events)
        self.tokens: dict[tuple[str, int], tuple[int, ...]] = {}
        self.text: dict[tuple[str, int], str] = {}
        self.finish = {}
        self.closed = [e.group_id for e in self.events if isinstance(e, GroupClosed)]
        self.failed = {e.group_id: e for e in self.events if isinstance(e, GroupFailed)}
        for event in self.events:
            if not isinstance(event, PathOutput):
                continue
            key = (event.group_id, event.path)
            assert key not in self.finish, "an event after a path's end"
            self.tokens[key] = self.tokens.get(key, ()) + event.tokens
            self.text[key] = self.text.get(key, "") + event.text
            if event.finish is not None:
                self.finish[key] = event.finish
