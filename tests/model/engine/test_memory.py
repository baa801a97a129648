"""How KV memory is shared among layer kinds."""

import pytest

from model.engine.config import EngineConfig
from model.engine.memory import MemoryPlan, NotEnoughMemory, fitting_plan, page_bytes, plan_memory
from model.nn.layout import KvLayout
from model.spec import LayerSpec, ModelSpec, Rope

CONFIG = EngineConfig(page_size=32, prefill_chunk=256)
ROWS = 8


def spec(*windows: int | None) -> ModelSpec:
    layers = tuple(
        LayerSpec(heads=4, kv_heads=1, head_dim=64, d_ff=64, rope=Rope(1e4), window=window)
        for window in windows
    )
    return ModelSpec(family="gemma3", d_model=64, vocab_size=64, context=32768, layers=layers)


def test_a_context_on_windowed_layers_costs_their_window_only():
    plan = plan_memory(spec(None, 512), CONFIG, ROWS, 32768, KvLayout(2), 2**40)
    everywhere, windowed = plan.pages
    assert everywhere >= 8 * 32768 // 32
    assert windowed < 8 * 1024 // 32 + 64


def test_the_least_is_one_context_and_a_copied_page_not_two():
    one = spec(None)
    context_bytes = 32768 // 32 * page_bytes(one, CONFIG, KvLayout(2))[0]
    plan = plan_memory(one, CONFIG, ROWS, 32768, KvLayout(2), int(1.01 * context_bytes))
    assert plan.pages[0] >= 32768 // 32 + 2
    with pytest.raises(NotEnoughMemory, match="lower --context"):
        plan_memory(one, CONFIG, ROWS, 32768, KvLayout(2), context_bytes)


@pytest.mark.parametrize("mebibytes", [64, 100, 500, 10_000])
def test_a_plan_stays_within_its_budget(mebibytes):
    plan = plan_memory(spec(None, 512, 512), CONFIG, ROWS, 32768, KvLayout(4), mebibytes * 2**20)
    assert plan.bytes <= mebibytes * 2**20


def test_more_than_the_usual_is_taken_when_one_sequence_needs_it_but_no_more_than_the_most():
    one = spec(None)
    needed = plan_memory(one, CONFIG, ROWS, 32768, KvLayout(2), 2**40).bytes // 8
    least = plan_memory(one, CONFIG, ROWS, 32768, KvLayout(2), 2**10, most=needed)
    assert 32768 // 32 + 2 <= least.pages[0] <= 32768 // 32 + 4
    with pytest.raises(NotEnoughMemory):
        plan_memory(one, CONFIG, ROWS, 32768, KvLayout(2), 2**10, most=2**20)


def test_pages_of_padded_and_of_shared_heads_cost_what_they_take():
    layer = LayerSpec(heads=8, kv_heads=2, head_dim=64, d_ff=64, rope=Rope(1e4))
    assert KvLayout(2).page_bytes(layer, 32) == 2 * 32 * 2 * 64 * 2
    assert KvLayout(2, lanes=128).page_bytes(layer, 32) == 2 * 32 * 2 * 128 * 2
    assert KvLayout(2, shards=2).page_bytes(layer, 32) == 2 * 32 * 1 * 64 * 2
    assert KvLayout(2, shards=4).page_bytes(layer, 32) == 2 * 32 * 2 * 64 * 2


def a_page_a_byte(budget: int) -> MemoryPlan:
    if budget < 50:
        raise NotEnoughMemory
    return MemoryPlan((budget,), budget)


def test_pages_get_nine_tenths_where_the_largest_step_fits_in_the_rest():
    asked = []
    plan = fitting_plan(1000, a_page_a_byte, lambda plan: asked.append(plan) or 50)
    assert plan.bytes == 900
    assert asked == [plan]


def test_pages_make_room_for_what_the_largest_step_needs_for_itself():
    plan = fitting_plan(1000, a_page_a_byte, lambda plan: 300)
    assert plan.bytes + 300 == 950
    with pytest.raises(NotEnoughMemory):
        fitting_plan(1000, a_page_a_byte, lambda plan: 910)
