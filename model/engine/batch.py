"""A plan as arrays of a step shape. numpy only; padding is explained where it is made."""

import numpy as np

from model.contract import MAX_LOGIT_BIAS, MAX_STOP_IDS
from model.engine.arrays import SamplingRows, StepArrays
from model.engine.plan import Chunk, Output, StepPlan
from model.engine.sequences import Path
from model.engine.shapes import StepShape
from model.nn.blocks import in_blocks

BIAS_ENTRIES = MAX_LOGIT_BIAS + MAX_STOP_IDS + 16
"""A row's logit biases and the ids that min_tokens forbids: stop ids and end-of-sequence ids."""

_FORBIDDEN = -1e9


def empty_arrays(shape: StepShape, kinds: int, table_width: int) -> StepArrays:
    """A step of padding only: positions -1, null pages, greedy rows without any filter."""
    T, R, S = shape.tokens, shape.outputs, shape.sequences
    owner = np.zeros(T, np.int32)
    owner[: shape.rows] = np.arange(shape.rows)
    # Blocks of padding have the last prompt's row, so that owners never fall.
    owner[shape.rows :] = max(0, S - 1)
    return StepArrays(
        tokens=np.zeros(T, np.int32),
        positions=np.full(T, -1, np.int32),
        feed=np.full(shape.rows, -1, np.int32),
        owner=owner,
        tables=tuple(np.zeros((S, table_width), np.int32) for _ in range(kinds)),
        select=np.full(R, -1, np.int32),
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
    """The plan's chunks and outputs, each in its place; what is left stays padding."""
    arrays = empty_arrays(shape, kinds, table_width)
    begin: dict[Chunk, int] = {}
    for row, chunk in enumerate(plan.rows):
        begin[chunk] = row
        arrays.feed[row] = chunk.feed
        _fill_chunk(arrays, chunk, row, row)
    at = shape.rows
    for prompt, chunk in enumerate(plan.chunks):
        begin[chunk] = at
        end = at + in_blocks(chunk.count)
        arrays.owner[at:end] = shape.rows + prompt
        _fill_chunk(arrays, chunk, at, shape.rows + prompt)
        at = end
    wanted = 0
    for slot, output in enumerate(plan.outputs):
        arrays.select[slot] = begin[output.chunk] + output.offset
        if output.path is None:
            arrays.rows.target[slot] = output.target
            wanted = max(wanted, _scored_alternatives(output))
            continue
        _fill_sampling(arrays.rows, slot, output, output.path, eos)
        wanted = max(wanted, output.path.request.sampling.logprobs or 0)
    arrays.rows.alternatives[...] = wanted
    return arrays


def _fill_chunk(arrays: StepArrays, chunk: Chunk, at: int, row: int) -> None:
    end = chunk.start + chunk.count
    arrays.tokens[at : at + chunk.count] = chunk.sequence.tokens[chunk.start : end]
    arrays.positions[at : at + chunk.count] = np.arange(chunk.start, end)
    for kind, pages in enumerate(chunk.sequence.tables.tables):
        arrays.tables[kind][row, : len(pages)] = pages


def _fill_sampling(
    rows: SamplingRows, at: int, output: Output, path: Path, eos: tuple[int, ...]
) -> None:
    sampling = path.request.sampling
    rows.temperature[at] = sampling.temperature
    rows.top_k[at] = sampling.top_k
    rows.top_p[at] = sampling.top_p
    rows.min_p[at] = sampling.min_p
    rows.seed[at] = (sampling.seed >> 32, sampling.seed & 0xFFFFFFFF)
    rows.position[at] = output.position
    entries = list(sampling.logit_bias)
    if output.position - path.base < sampling.min_tokens:
        ends = (*sampling.stop_ids, *(() if sampling.ignore_eos else eos))
        entries += [(token, _FORBIDDEN) for token in ends]
    for slot, (token, bias) in enumerate(entries[:BIAS_ENTRIES]):
        rows.bias_ids[at, slot] = token
        rows.bias[at, slot] = bias


def _scored_alternatives(output: Output) -> int:
    assert output.trunk is not None
    return output.trunk.alternatives
