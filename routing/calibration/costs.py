"""What the greedy-first plan runs, for every k and m at once, over random orders of the paths.

The first k paths of a random order are a random subset in a random order, so one order serves all
k. An order and its rotations put every path in every place once, which takes most of the noise
out. After n paths of k, r = k - n to come, with M the votes of the leading answer but the greedy
one (g votes), a verdict is still out exactly when

- some answer but the greedy one can win: M + r >= m and M + r > g (ties are the greedy one's), and
- the leader has not won yet: M < m, or a rival can overtake it: r > lead.

lead: the most votes that a rival could still gain in vain. All three are "r is at least ...", so
each n is out from some k on. An answer that no path has given yet is a rival with 0 votes that
wins every tie but the greedy one's, as in `routing.stopping`.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.records import RecordedPath

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ORDERS = 32  # at least so many per estimate, rotations included
_ALL_ORDERS_OF = 5


@dataclass(frozen=True)
class Cost:
    """Expected paths and tokens, each [K + 1, K + 2]: of k (row), with m votes to win (column).

    Column 0 costs what column 1 does; columns beyond k + 1 are 0, as k + 1 itself is.
    """

    paths: Array
    tokens: Array


def two_estimates(
    paths: tuple[RecordedPath, ...], greedy: str | None, seed: list[int]
) -> tuple[Cost, Cost]:
    """From two independent sets of orders; their mean is the estimate, their distance its error."""
    random = np.random.default_rng(seed)
    answers = _numbered(paths, greedy)
    tokens = np.array([path.tokens for path in paths], dtype=np.int64)
    first, second = (_cost(answers, tokens, _orders(len(paths), random)) for _ in range(2))
    return first, second


def _numbered(paths: tuple[RecordedPath, ...], greedy: str | None) -> Ints:
    """0 the greedy answer, 1... the others in code point order, -1 no vote."""
    others = sorted({p.answer for p in paths if p.answer is not None} - {greedy})
    number: dict[str | None, int] = {answer: i for i, answer in enumerate(others, start=1)}
    if greedy is not None:
        number[greedy] = 0
    number[None] = -1
    return np.array([number[path.answer] for path in paths], dtype=np.int64)


def _orders(K: int, random: np.random.Generator) -> Ints:
    """[orders, K]: permutations with all their rotations; every order there is for few paths."""
    if K <= _ALL_ORDERS_OF:
        return np.array(list(itertools.permutations(range(K))), dtype=np.int64)
    rotations = (np.arange(K)[:, None] + np.arange(K)) % K
    shuffles = max(1, _ORDERS // K)
    return np.concatenate([random.permutation(K)[rotations] for _ in range(shuffles)])


def _cost(answers: Ints, tokens: Ints, orders: Ints) -> Cost:
    K = len(answers)
    best, greedy, lead = _standings(answers[orders])
    n, m = np.arange(K)[:, None], np.arange(1, K + 2)
    best, greedy, lead = best[..., None], greedy[..., None], lead[..., None]
    out_from = np.maximum(m - best, np.maximum(greedy - best + 1, 1))
    out_from = np.maximum(out_from, np.where(best >= m, lead + 1, 0))
    # Path n + 1 runs for every k from n + out_from on: counted there, then summed along k.
    k_from = np.minimum(n + out_from, K + 1)
    cell = (k_from * (K + 2) + m).ravel()
    weights = np.repeat(tokens[orders].ravel().astype(np.float64), K + 1)

    def along_k(weights: Array | None) -> Array:
        starts = np.bincount(cell, weights, minlength=(K + 2) * (K + 2))
        table = np.cumsum(starts.reshape(K + 2, K + 2)[: K + 1], axis=0) / len(orders)
        table[:, 0] = table[:, 1]
        return np.where(np.arange(K + 2) > np.arange(K + 1)[:, None], 0.0, table)

    return Cost(along_k(None), along_k(weights))


def _standings(votes: Ints) -> tuple[Ints, Ints, Ints]:
    """After n = 0 .. K - 1 votes of each order [orders, K]: best, greedy and lead as above."""
    kinds = max(int(votes.max(initial=0)), 1) + 1
    one = votes[..., None] == np.arange(kinds)
    counts = np.cumsum(one, axis=1) - one  # before the n-th vote: [orders, K, kinds]
    others = counts[..., 1:]
    leader = np.argmax(others, axis=-1)[..., None]
    best = np.take_along_axis(others, leader, axis=-1)
    # A rival before the leader in the order of ties needs one vote less.
    rivals = others + (np.arange(kinds - 1) < leader)
    np.put_along_axis(rivals, leader, 0, axis=-1)
    # So does the greedy answer; and with 0 votes, if there is none, it stands for an unseen one.
    threat = np.maximum(rivals.max(axis=-1), counts[..., 0] + 1)
    return best[..., 0], counts[..., 0], best[..., 0] - threat
