"""Recorded polls, replayed through the stopping rules without a model.

One JSON line per question: {"id", "answer": gold or null, "greedy": canonical or null,
"paths": [{"answer": canonical or null, "tokens": n}, ...]}. What `pollux calibrate` records has
more: the texts, so that another extractor can read them again, and how confident each path was.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from routing.stopping import Poll, Rule, Verdict, judge
from routing.tally import Tally


class RecordedPath(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sampled path. answer: canonical; None when the path gave no usable one.

    status: the extraction's. finish: "stop" or "length". mean_logprob: of its tokens (natural
    log). group_confidence: the lowest of its windows (DeepConf, arXiv 2508.15260).
    self_certainty: mean over tokens (arXiv 2502.18581). None: not recorded.
    """

    answer: str | None
    tokens: int = 0
    status: str | None = None
    finish: str | None = None
    mean_logprob: float | None = None
    group_confidence: float | None = None
    self_certainty: float | None = None
    text: str | None = None


class RecordedQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """answer: the true one, if known. greedy: without chain of thought.

    cot: one greedy chain of thought (temperature 0), when that was recorded. tokens of prompts
    are not counted. seconds: from its start to its end, with whatever else ran beside it.
    busy_seconds: since the question before it had ended; they add up to the run's wall clock.
    """

    id: str | int
    answer: str | None
    greedy: str | None
    paths: tuple[RecordedPath, ...]
    greedy_tokens: int = 0
    greedy_status: str | None = None
    greedy_text: str | None = None
    cot: RecordedPath | None = None
    question: str | None = None
    subject: str | None = None
    seconds: float | None = None
    busy_seconds: float | None = None

    @property
    def all_tokens(self) -> int:
        """Sampled for this question, by everything that was recorded of it."""
        cot = self.cot.tokens if self.cot else 0
        return self.greedy_tokens + cot + sum(path.tokens for path in self.paths)


class BadRecord(ValueError):
    """A line that is no record. The message names the line."""


_decoder = msgspec.json.Decoder(RecordedQuestion)


def read_records(lines: Iterable[str | bytes]) -> Iterator[RecordedQuestion]:
    """Blank lines are skipped. Raises BadRecord at the first line that is none."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise BadRecord(f"line {number}: {error}") from None
        except RecursionError:
            raise BadRecord(f"line {number}: brackets are nested too deeply") from None


@dataclass(frozen=True)
class Replay:
    """How a rule would have polled a recorded question. used: paths until its verdict."""

    verdict: Verdict
    used: int
    tokens: int


def replay(
    question: RecordedQuestion,
    k: int,
    min_votes: int,
    rule: Rule = "greedy_first",
    order: Sequence[int] | None = None,
) -> Replay:
    """One path after the other, in the order of their finish (default: as recorded).

    Raises BadRecord when fewer than k paths were recorded.
    """
    if len(question.paths) < k:
        raise BadRecord(f"question {question.id}: {len(question.paths)} paths recorded, {k} asked")
    poll = Poll(k, min_votes, question.greedy)
    tally, tokens = Tally(), 0
    finishing = iter(range(k) if order is None else order)
    while (verdict := judge(tally, poll, rule)) is None:
        path = question.paths[next(finishing)]
        tally, tokens = tally.with_vote(path.answer), tokens + path.tokens
    return Replay(verdict, tally.finished, tokens)
