"""How much the paths of each question agree: the reference that live traffic is held against."""

from collections import Counter
from collections.abc import Sequence

from routing.records import RecordedQuestion


def histogram(questions: Sequence[RecordedQuestion], k: int) -> tuple[int, ...]:
    """[k + 1]: questions by how many of their first k paths gave the most frequent answer."""
    counts = [0] * (k + 1)
    for question in questions:
        votes = Counter(path.answer for path in question.paths[:k] if path.answer is not None)
        counts[max(votes.values(), default=0)] += 1
    return tuple(counts)


def invalid_rate(questions: Sequence[RecordedQuestion], k: int) -> float:
    """Share of the first k paths of each question that gave no usable answer."""
    invalid = sum(path.answer is None for q in questions for path in q.paths[:k])
    return invalid / (k * len(questions))
