"""Whatever the scheduler may put into a step, there is a shape for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engine.config import EngineConfig
from model.engine.shapes import StepShapes
from model.nn.blocks import QUERY_BLOCK, blocks_of

ROWS = (1, 3, 8, 32, 100)
configs = st.builds(EngineConfig, prefill_chunk=st.integers(16, 600))
shapes = st.builds(
    StepShapes.of,
    configs,
    st.integers(2, 4096),
    st.sampled_from(ROWS),
    live_rows=st.booleans(),
    mixed=st.booleans(),
)


@given(shapes=shapes, data=st.data())
def test_every_step_within_the_limits_has_a_shape(shapes, data):
    rows = data.draw(st.integers(0, max(shape.rows for shape in shapes.all)))
    together = bool(shapes.mixed)
    blocks = blocks_of(shapes.chunk) if together or rows == 0 else 0
    chunk = QUERY_BLOCK * data.draw(st.integers(0, blocks))
    widest = max(shapes.all, key=lambda shape: shape.chunk)
    prompts = data.draw(st.integers(0, min(widest.prompts, chunk // QUERY_BLOCK)))
    if not rows and not chunk:
        return
    shape = shapes.pick(rows, chunk, prompts, rows)
    assert shape.holds(rows, chunk, prompts, rows)
    smaller = [s for s in shapes.all if s.holds(rows, chunk, prompts, rows)]
    assert all(shape.tokens <= other.tokens for other in smaller)


@given(shapes=shapes, data=st.data())
def test_a_scored_chunk_has_a_shape(shapes, data):
    count = data.draw(st.integers(1, shapes.score.outputs))
    shape = shapes.pick(0, QUERY_BLOCK * blocks_of(count), 1, count)
    assert shape.outputs >= count


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_there_are_few_shapes_and_fewer_where_padding_is_free(live, mixed):
    made = StepShapes.of(EngineConfig(), 32768, 64, live_rows=live, mixed=mixed)
    assert len(made.all) == len(set(made.all))
    assert len(made.all) <= (5 if live else 12)
