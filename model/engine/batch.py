"""A plan as arrays of a step shape. numpy only; padding is explained where it is made."""

import numpy as np

from model.engine.arrays import SamplingRows, StepArrays
from model.engine.plan import StepPlan
from model.engine.sequences import Path
from model.engine.shapes import StepShape


def empty_arrays(shape: StepShape, kinds: int, table_width: int) -> StepArrays:
    """A step of padding only: positions -1, null pages, greedy rows without any filter."""
    B, Q, R = shape.rows, shape.width, shape.outputs
    return StepArrays(
        tokens=np.zeros((B, Q), np.int32),
        positions=np.full((B, Q), -1, np.int32),
        tables=tuple(np.zeros((B, table_width), np.int32) for _ in range(kinds)),
        select=np.zeros(R, np.int32),
        rows=SamplingRows(
            live=np.full(R, -1, np.int32),
            temperature=np.zeros(R, np.float32),
            top_k=np.zeros(R, np.int32),
            top_p=np.ones(R, np.float32),
            min_p=np.zeros(R, np.float32),
            seed=np.zeros((R, 2), np.uint32),
            position=np.zeros(R, np.int32),
            target=np.full(R, -1, np.int32),
        ),
    )


def fill_arrays(plan: StepPlan, shape: StepShape, kinds: int, table_width: int) -> StepArrays:
    """The plan's chunks and outputs, each in its row; what is left stays padding."""
    arrays = empty_arrays(shape, kinds, table_width)
    for row, chunk in enumerate(plan.chunks):
        end = chunk.start + chunk.count
        arrays.tokens[row, : chunk.count] = chunk.sequence.tokens[chunk.start : end]
        arrays.positions[row, : chunk.count] = np.arange(chunk.start, end)
        for kind, pages in enumerate(chunk.sequence.tables.tables):
            arrays.tables[kind][row, : len(pages)] = pages
    for at, output in enumerate(plan.outputs):
        arrays.select[at] = output.row * shape.width + output.offset
        arrays.rows.live[at] = at
        if output.path is None:
            arrays.rows.target[at] = output.target
        else:
            _fill_sampling(arrays.rows, at, output.path)
    return arrays


def _fill_sampling(rows: SamplingRows, at: int, path: Path) -> None:
    sampling = path.request.sampling
    rows.temperature[at] = sampling.temperature
    rows.top_k[at] = sampling.top_k
    rows.top_p[at] = sampling.top_p
    rows.min_p[at] = sampling.min_p
    rows.seed[at] = (sampling.seed >> 32, sampling.seed & 0xFFFFFFFF)
    rows.position[at] = len(path.tokens)
