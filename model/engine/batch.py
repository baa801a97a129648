"""A plan as arrays of a step shape. numpy only; padding is explained where it is made."""

from collections.abc import Mapping

import numpy as np

from model.engine.arrays import SamplingRows, StepArrays
from model.engine.plan import Chunk, Output, StepPlan
from model.engine.sequences import Path
from model.engine.shapes import StepShape
from model.nn.blocks import in_blocks


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
            live=np.full(R, -1, np.int32),
            temperature=np.zeros(R, np.float32),
            top_k=np.zeros(R, np.int32),
            top_p=np.ones(R, np.float32),
            min_p=np.zeros(R, np.float32),
            seed=np.zeros((R, 2), np.uint32),
            position=np.zeros(R, np.int32),
            target=np.full(R, -1, np.int32),
        ),
        soft=np.full(T, -1, np.int32) if shape.images else None,
        sees=np.full(T, -1, np.int32) if shape.images else None,
    )


def fill_arrays(
    plan: StepPlan,
    shape: StepShape,
    kinds: int,
    table_width: int,
    soft: Mapping[bytes, int] | None = None,
) -> StepArrays:
    """The plan's chunks and outputs, each in its place; what is left stays padding. soft: of each
    image by its key, the first of its rows in the buffer."""
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
        _fill_images(arrays, chunk, at, soft or {})
        at = end
    for slot, output in enumerate(plan.outputs):
        arrays.select[slot] = begin[output.chunk] + output.offset
        arrays.rows.live[slot] = slot
        if output.path is None:
            arrays.rows.target[slot] = output.target
        else:
            _fill_sampling(arrays.rows, slot, output, output.path)
    return arrays


def _fill_chunk(arrays: StepArrays, chunk: Chunk, at: int, row: int) -> None:
    end = chunk.start + chunk.count
    arrays.tokens[at : at + chunk.count] = chunk.sequence.tokens[chunk.start : end]
    arrays.positions[at : at + chunk.count] = np.arange(chunk.start, end)
    if arrays.sees is not None:
        arrays.sees[at : at + chunk.count] = np.arange(chunk.start, end)
    for kind, pages in enumerate(chunk.sequence.tables.tables):
        arrays.tables[kind][row, : len(pages)] = pages


def _fill_images(arrays: StepArrays, chunk: Chunk, at: int, soft: Mapping[bytes, int]) -> None:
    if arrays.soft is None or arrays.sees is None:
        return
    for image in chunk.images:
        first, length = at + image.start - chunk.start, image.end - image.start
        arrays.soft[first : first + length] = soft[image.key] + np.arange(length)
        arrays.sees[first : first + length] = image.end - 1


def _fill_sampling(rows: SamplingRows, at: int, output: Output, path: Path) -> None:
    sampling = path.request.sampling
    rows.temperature[at] = sampling.temperature
    rows.top_k[at] = sampling.top_k
    rows.top_p[at] = sampling.top_p
    rows.min_p[at] = sampling.min_p
    rows.seed[at] = (sampling.seed >> 32, sampling.seed & 0xFFFFFFFF)
    rows.position[at] = output.position
