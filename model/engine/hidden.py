"""The sum of a prompt's hidden states, as steps bring it in blocks. Host values only."""

import numpy as np

from model.nn.blocks import QUERY_BLOCK


class HiddenSum:
    """Adds up blocks in the order of their positions, in float64.

    A block is summed on the device in an order of its own, so the mean does not depend on how the
    prompt was cut into chunks, nor on what else was in a step. count: positions that are in.
    """

    def __init__(self) -> None:
        self.count = 0
        self._total = np.zeros(0)

    def add(self, start: int, count: int, sums: np.ndarray) -> None:
        """Takes in positions [start, start + count), start on a block's edge.

        sums: [ceil(count / 16), D] float32, one of each block. What is in already, because a
        preempted prompt is read a second time, is left out.
        """
        assert start % QUERY_BLOCK == 0
        assert start <= self.count
        if start + count <= self.count:
            return
        if not self.count:
            self._total = np.zeros(sums.shape[1])
        for block in sums[(self.count - start) // QUERY_BLOCK :]:
            self._total += block
        self.count = start + count

    def mean(self) -> bytes:
        """Little-endian float32."""
        return (self._total / self.count).astype("<f4").tobytes()
