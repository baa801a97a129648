"""The engine's step by the real TPU compiler. No TPU is needed, libtpu is.

Numbers are those of real models; where layers only repeat, one of each kind stands for all.
"""

from dataclasses import replace

import pytest

from model.engine.config import EngineConfig
from model.engine.shapes import StepShape
from model.parallel.ahead import CHIPS, compiler_installed, placement_on, step_cost
from model.presets import PRESETS
from model.spec import LayerSpec, ModelSpec, Rope, VisionSpec

pytestmark = pytest.mark.skipif(
    not compiler_installed(), reason="libtpu, the TPU compiler, is not installed"
)

CONTEXT, ROWS, KV_BYTES = 8192, 32, 2 * 2**30
DECODE, MIXED, PREFILL = StepShape(32, 0, 32), StepShape(32, 64, 32), StepShape(0, 256, 0)
POOLED = StepShape(0, 256, 0, pooled=True)
# Less than one layer's pages or its largest matrix: nothing of the kind is copied.
MOST_TEMPORARIES = 64 * 2**20


def gemma(d_model: int, d_ff: int, heads: int, kv_heads: int, windows: list[int | None]):
    layers = tuple(
        LayerSpec(heads, kv_heads, 256, d_ff, Rope(1e4 if window else 1e6), window)
        for window in windows
    )
    return ModelSpec(
        "gemma3",
        d_model,
        vocab_size=262144,
        context=32768,
        layers=layers,
        activation="gelu_tanh",
        attn_scale=1 / 16,
        qk_norm=True,
        post_norms=True,
    )


def one_of_each_kind(preset: str) -> ModelSpec:
    """The first local and the first global layer."""
    spec = PRESETS[preset]
    kinds = {layer.window: layer for layer in reversed(spec.layers)}
    return replace(spec, layers=tuple(kinds.values()))


GEMMA4_12B = one_of_each_kind("gemma-4-12b")
GEMMA4_26B = one_of_each_kind("gemma-4-26b-a4b")
GEMMA_270M = gemma(640, 2048, 4, 1, [512, None])
GEMMA_1B = gemma(1152, 6912, 4, 1, [512, None])
GEMMA_4B = gemma(2560, 10240, 8, 4, [1024, None])


@pytest.mark.parametrize(
    ("spec", "shape", "chip", "devices"),
    [
        pytest.param(GEMMA_270M, DECODE, "v5e", 1, id="270m-decode-v5e"),
        pytest.param(GEMMA_1B, MIXED, "v6e", 1, id="1b-mixed-v6e"),
        pytest.param(GEMMA_4B, PREFILL, "v5e", 1, id="4b-prefill-v5e"),
        pytest.param(GEMMA_4B, DECODE, "v5e", 4, id="4b-decode-4-v5e"),
        pytest.param(GEMMA4_12B, DECODE, "v5e", 4, id="gemma4-12b-decode-4-v5e"),
        pytest.param(GEMMA_270M, POOLED, "v5e", 1, id="270m-pooled-v5e"),
        pytest.param(GEMMA_4B, POOLED, "v5e", 4, id="4b-pooled-4-v5e"),
    ],
)
def test_a_step_fits_the_chip_and_copies_neither_pages_nor_weights(spec, shape, chip, devices):
    placement = placement_on(chip, devices)
    cost, memory = step_cost(
        spec, placement, EngineConfig(), shape, context=CONTEXT, rows=ROWS, kv_bytes=KV_BYTES
    )
    assert memory.bytes > 2**28
    assert cost.aliased >= memory.bytes
    logits = 4 * shape.outputs * spec.vocab_size // devices
    assert cost.outputs - cost.aliased <= logits + 2**20
    assert cost.temporaries <= MOST_TEMPORARIES
    assert cost.memory <= CHIPS[chip].memory
    assert cost.arguments > memory.bytes
    assert cost.flops > 0
    assert cost.seconds is not None
    assert 0 < cost.seconds < 0.1


def test_a_step_with_experts_compiles_and_fits_the_chip():
    cost, memory = step_cost(
        GEMMA4_26B,
        placement_on("v5e"),
        EngineConfig(),
        DECODE,
        context=CONTEXT,
        rows=ROWS,
        kv_bytes=KV_BYTES,
    )
    assert cost.aliased >= memory.bytes
    assert cost.memory <= CHIPS["v5e"].memory


@pytest.mark.parametrize("devices", [1, 4])
def test_a_step_that_reads_an_image_copies_neither_pages_nor_weights(devices):
    """It gathers pages for plain attention, so many bytes at a time."""
    vision = VisionSpec(896, 14, 1152, 4304, 27, 16, tokens=256, placeholder=262144)
    spec = replace(GEMMA_4B, vision=vision, vocab_size=262208)
    cost, memory = step_cost(
        spec,
        placement_on("v5e", devices),
        EngineConfig(),
        replace(PREFILL, images=True),
        context=CONTEXT,
        rows=ROWS,
        kv_bytes=KV_BYTES,
    )
    assert cost.aliased >= memory.bytes
    assert cost.temporaries <= 2 * MOST_TEMPORARIES


def test_devices_share_weights_and_pages():
    """Of a model with four KV heads each of four devices has a quarter."""
    costs = {}
    for devices in (1, 4):
        placement = placement_on("v5e", devices)
        costs[devices], _ = step_cost(
            gemma(2560, 10240, 8, 4, [1024]),
            placement,
            EngineConfig(),
            StepShape(0, 16, 0),
            context=2048,
            rows=8,
            kv_bytes=KV_BYTES // devices,
        )
    ratio = costs[4].arguments / costs[1].arguments
    assert ratio == pytest.approx(0.25, abs=0.01)
