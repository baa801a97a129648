"""A plan as arrays of a step shape. numpy only; padding is explained where it is made."""

import numpy as np

from model.contract import MAX_LOGIT_BIAS, MAX_STOP_IDS
from model.engine.arrays import SamplingRows, StepArrays
from model.engine.plan import Output, StepPlan
from model.engine.sequences import Path
from model.engine.shapes import StepShape

BIAS_ENTRIES = MAX_LOGIT_BIAS + MAX_STOP_IDS + 16
"""A row's logit biases and the ids that min_tokens forbids: stop ids and end-of-sequence ids."""

_FORBIDDEN = -1e9


def empty_arrays(shape: StepShape, kinds: int, table_width: int) -> StepArrays:
    """A step of padding only: positions -1, null pages, greedy rows without any filter."""
    B, Q, R = shape.rows, shape.width, shape.outputs
    return StepArrays(
        tokens=np.zeros((B, Q), np.int32),
        positions=np.full((B, Q), -1, np.int32),
        tables=tuple(np.zeros((B, table_width), np.int32) for _ in range(kinds)),
        select=np.zeros(R, np.int32),
        rows=SamplingRows(
            temperature=np.zeros(R, np.float32),
            top_k=np.zeros(R, np.int32),
            top_p=np.ones(R, np.float32),
            min_p=np.zeros(R, np.float32),
            seed=np.zeros((R, 2), np.uint32),
            position=np.zeros(R, np.int32),
            target=np.full(R, -1, np.int32),
            bias_ids=np.full((R, BIAS_ENTRIES), -1, np.int32),
            bias=np.zeros((R, BIAS_ENTRIES), np.float32),
            alternatives=np.zeros((), np.int32),
        ),
    )


def fill_arrays(
    plan: StepPlan, shape: StepShape, kinds: int, table_width: int, eos: tuple[int, ...]
) -> StepArrays:
    """The plan's chunks and outputs, each in its row; what is left stays padding."""
    arrays = empty_arrays(shape, kinds, table_width)
    for row, chunk in enumerate(plan.chunks):
        end = chunk.start + chunk.count
        arrays.tokens[row, : chunk.count] = chunk.sequence.tokens[chunk.start : end]
        arrays.positions[row, : chunk.count] = np.arange(chunk.start, end)
        for kind, pages in enumerate(chunk.sequence.tables.tables):
            arrays.tables[kind][row, : len(pages)] = pages
    wanted = 0
    for at, output in enumerate(plan.outputs):
        arrays.select[at] = output.row * shape.width + output.offset
        if output.path is None:
            arrays.rows.target[at] = output.target
            wanted = max(wanted, _scored_alternatives(output))
            continue
        _fill_sampling(arrays.rows, at, output.path, eos)
        wanted = max(wanted, output.path.request.sampling.logprobs or 0)
    arrays.rows.alternatives[...] = wanted
    return arrays


def _fill_sampling(rows: SamplingRows, at: int, path: Path, eos: tuple[int, ...]) -> None:
    sampling = path.request.sampling
    rows.temperature[at] = sampling.temperature
    rows.top_k[at] = sampling.top_k
    rows.top_p[at] = sampling.top_p
    rows.min_p[at] = sampling.min_p
    rows.seed[at] = (sampling.seed >> 32, sampling.seed & 0xFFFFFFFF)
    rows.position[at] = len(path.tokens)
    entries = list(sampling.logit_bias)
    if path.output.count < sampling.min_tokens:
        ends = (*sampling.stop_ids, *(() if sampling.ignore_eos else eos))
        entries += [(token, _FORBIDDEN) for token in ends]
    for slot, (token, bias) in enumerate(entries[:BIAS_ENTRIES]):
        rows.bias_ids[at, slot] = token
        rows.bias[at, slot] = bias


def _scored_alternatives(output: Output) -> int:
    assert output.trunk is not None
    return output.trunk.alternatives
