"""What a scripted path says: chunks of tokens and text, cut by its request's own limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model.contract import FailureCode, Finish, FinishReason, Group, SamplingParams, TokenLogprob

TOKEN_LOGPROB = -0.5
"""What every token is given when logprobs are asked for and the script has none of its own."""


@dataclass(frozen=True)
class Chunk:
    """What one step of a path adds."""

    tokens: tuple[int, ...]
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Failure:
    """In place of a finish: the whole group fails when the path gets here."""

    code: FailureCode
    message: str
    param: str | None = None


@dataclass(frozen=True)
class PathScript:
    """All that a path would produce if nothing cut it."""

    chunks: tuple[Chunk, ...]
    finish: FinishReason | Failure = "stop"


def say(text: str, *, finish: FinishReason | Failure = "stop") -> PathScript:
    """One token per word (its spaces go with it), ids made up but stable."""
    pieces = [piece for piece in _words(text) if piece]
    return PathScript(
        tuple(Chunk((1000 + index,), piece) for index, piece in enumerate(pieces)), finish
    )


def _words(text: str) -> Iterable[str]:
    start = 0
    for index, char in enumerate(text):
        if char.isspace() and index > start and not text[index - 1].isspace():
            yield text[start:index]
            start = index
    yield text[start:]


def cut_to_request(
    script: PathScript | str, sampling: SamplingParams
) -> tuple[list[Chunk], Finish | Failure]:
    """Applies max_tokens and stop strings up front, so that text never has to be held back."""
    if isinstance(script, str):
        script = say(script)
    finish: Finish | Failure = (
        script.finish if isinstance(script.finish, Failure) else Finish(reason=script.finish)
    )
    chunks = list(script.chunks)
    taken = 0
    for index, chunk in enumerate(chunks):
        taken += len(chunk.tokens)
        if taken < sampling.max_tokens or (
            taken == sampling.max_tokens and index == len(chunks) - 1
        ):
            continue
        kept = len(chunk.tokens) - (taken - sampling.max_tokens)
        whole = kept == len(chunk.tokens)
        chunks[index:] = [Chunk(chunk.tokens[:kept], chunk.text if whole else "")]
        finish = Finish(reason="length")
        break
    chunks, finish = _apply_stops(chunks, finish, sampling.stop)
    if sampling.logprobs is not None:
        chunks = [_scored(chunk, sampling.logprobs) for chunk in chunks]
    return chunks, finish


def _apply_stops(
    chunks: list[Chunk], finish: Finish | Failure, stops: Sequence[str]
) -> tuple[list[Chunk], Finish | Failure]:
    text = "".join(chunk.text for chunk in chunks)
    hits = [(text.find(stop) + len(stop), text.find(stop), stop) for stop in stops if stop in text]
    if not hits:
        return chunks, finish
    end, cut, matched = min(hits)
    kept: list[Chunk] = []
    position = 0
    for chunk in chunks:
        visible = chunk.text[: max(0, cut - position)]
        kept.append(Chunk(chunk.tokens, visible, chunk.logprobs))
        position += len(chunk.text)
        if position >= end:
            break
    return kept, Finish(reason="stop", matched=matched)


def _scored(chunk: Chunk, alternatives: int) -> Chunk:
    if chunk.logprobs:
        return chunk
    logprobs = tuple(made_up_logprob(token, alternatives) for token in chunk.tokens)
    return Chunk(chunk.tokens, chunk.text, logprobs)


WIDTH = 4


def made_up_vector(group: Group) -> bytes:
    """Like prompts have like hidden states, of no particular length."""
    ids = np.array(group.prompt.token_ids())
    return np.array([len(ids), ids.mean(), ids[0], ids[-1]], "<f4").tobytes()


def made_up_logprob(token: int, alternatives: int) -> TokenLogprob:
    top = tuple((token + place, TOKEN_LOGPROB - place) for place in range(alternatives))
    return TokenLogprob(id=token, logprob=TOKEN_LOGPROB, top=top)
