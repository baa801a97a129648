"""Made-up records."""

import random

from hypothesis import strategies as st

from routing.records import RecordedPath, RecordedQuestion

ANSWERS = ("a", "b", "c", "d", None)

answers = st.sampled_from(ANSWERS)
paths = st.builds(RecordedPath, answer=answers, tokens=st.integers(0, 12))


def questions(min_paths: int, max_paths: int) -> st.SearchStrategy[RecordedQuestion]:
    return st.builds(
        RecordedQuestion,
        id=st.integers(),
        answer=st.sampled_from(["a", "b", "z"]),
        greedy=st.sampled_from([*ANSWERS, "z"]),
        paths=st.lists(paths, min_size=min_paths, max_size=max_paths).map(tuple),
    )


def record(
    count: int,
    k: int,
    *,
    path_right: tuple[float, float] = (0.0, 1.0),
    greedy_right: float = 0.5,
    rivals: int = 4,
    seed: int = 1,
) -> list[RecordedQuestion]:
    """Questions whose paths are right ("1") with a probability drawn from an interval."""
    source = random.Random(seed)

    def answer(p: float) -> str | None:
        if source.random() < p:
            return "1"
        return source.choice([None, *(str(n) for n in range(2, 2 + rivals))])

    made = []
    for number in range(count):
        p = source.uniform(*path_right)
        made.append(
            RecordedQuestion(
                id=f"q{number}",
                answer="1",
                greedy=answer(greedy_right),
                greedy_tokens=4,
                paths=tuple(
                    RecordedPath(answer=answer(p), tokens=source.randint(10, 90)) for _ in range(k)
                ),
            )
        )
    return made
