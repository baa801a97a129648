"""The TPU kernel, interpreted, against the plain reference. Unwritten memory is NaN here."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from model.kernels import pallas_attention
from model.kernels.backend import backend_for
from model.kernels.pallas_attend import LANES, attend_pallas
from model.nn.attention import attend
from model.nn.batch import Batch
from model.nn.cache import LayerCache
from model.nn.ops import rope_tables
from model.nn.params import LayerParams
from model.spec import LayerSpec, ModelSpec, Rope

ROPE = Rope(1e4)
PAGE, WIDTH, PAGES = 16, 5, 24
# Decode rows: alive, a hole, alive. Blocks: two of one prompt, one short, one of padding.
POSITIONS = [70, -1, 9, *range(30, 62), *range(5), *[-1] * 11, *[-1] * 16]
OWNERS = [0, 1, 2, *[3] * 32, *[4] * 16, *[4] * 16]


def spec_of(heads: int, kv_heads: int, head_dim: int, window: int | None) -> ModelSpec:
    layer = LayerSpec(heads, kv_heads, head_dim, d_ff=8, rope=ROPE, window=window)
    return ModelSpec(
        "gemma3", 8, 8, 128, (layer,), qk_norm=True, attn_scale=head_dim**-0.5, norm_eps=1e-6
    )


def batch_of(rng: np.random.Generator) -> Batch:
    tables = np.zeros((5, WIDTH), np.int32)
    tables[[0, 2, 3, 4]] = rng.permutation(np.arange(1, PAGES))[: 4 * WIDTH].reshape(4, WIDTH)
    return Batch(np.array(POSITIONS, np.int32), np.array(OWNERS, np.int32), (tables,), rows=3)


def empty_weights() -> dict:
    return dict.fromkeys(("attn_norm", "qkv", "o", "mlp_norm", "gate_up", "down"))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "window", "dtype", "tolerance", "own"),
    [
        (4, 1, 256, 40, jnp.bfloat16, 1e-2, "keys and values"),
        (8, 4, 256, None, jnp.bfloat16, 1e-2, "keys and values"),
        (14, 2, 64, 7, jnp.float32, 1e-5, "keys and values"),
        (4, 1, 512, None, jnp.float32, 1e-5, "keys"),
        (4, 1, 256, 40, jnp.float32, 1e-5, "nothing"),
    ],
)
def test_a_ragged_batch_is_attended_and_written_as_by_the_reference(
    heads, kv_heads, head_dim, window, dtype, tolerance, own, monkeypatch
):
    # Two pages a visit: the longest rows need several, and buffers take turns.
    monkeypatch.setattr(pallas_attention, "_MOST_SPAN", 2 * PAGE)
    rng = np.random.default_rng(heads)
    spec = spec_of(heads, kv_heads, head_dim, window)
    layer = replace(
        spec.layers[0],
        keys_are_values=own == "keys",
        kv_source=0 if own == "nothing" else None,
    )
    spec = replace(spec, layers=(layer,), v_norm=own == "keys")
    wide = -(-head_dim // LANES) * LANES
    norm = jnp.asarray(rng.normal(size=head_dim), jnp.float32)
    weights = LayerParams(**empty_weights(), q_norm=norm, k_norm=None if own == "nothing" else norm)
    batch = batch_of(rng)
    qkv = rng.normal(size=(len(POSITIONS), kv_heads, layer.projected, head_dim))
    old = rng.normal(size=(2, PAGES, kv_heads, PAGE, wide))
    old[..., head_dim:] = 0
    old = jnp.asarray(old, dtype)
    rope = rope_tables(ROPE, head_dim, jnp.asarray(batch.positions))
    interpreted = partial(attend_pallas, interpret=pltpu.InterpretParams())

    def run(function, pages):
        call = jax.jit(partial(function, spec, layer, weights, dtype=dtype))
        with jax.default_matmul_precision("highest"):
            return call(pages, jnp.asarray(qkv, jnp.float32), batch, rope)

    wanted, wanted_pages = run(attend, LayerCache(*old[..., :head_dim]))
    found, found_pages = run(interpreted, LayerCache(*old))
    live = np.array(POSITIONS) >= 0
    wanted, found = np.asarray(wanted, np.float32), np.asarray(found, np.float32)
    assert np.abs(wanted[live] - found[live]).max() <= tolerance
    assert np.isfinite(found).all()
    for want, have in zip(wanted_pages[:2], found_pages[:2], strict=True):
        np.testing.assert_array_equal(np.asarray(want)[1:], np.asarray(have)[1:, ..., :head_dim])


def test_what_the_kernel_does_not_take_falls_to_the_reference():
    spec = spec_of(4, 1, 256, None)
    pallas = backend_for("tpu", spec, jnp.dtype(jnp.bfloat16), page_size=32)
    small_pages = backend_for("tpu", spec, jnp.dtype(jnp.bfloat16), page_size=8)
    assert pallas.attend.func is attend_pallas
    assert small_pages.attend.func is attend


def test_each_platform_keeps_pages_its_own_way():
    spec = spec_of(9, 3, 64, None)
    dtype = jnp.dtype(jnp.bfloat16)
    on_cpu, on_gpu, on_tpu = (
        backend_for(platform, spec, dtype, page_size=32) for platform in ("cpu", "gpu", "tpu")
    )
    assert on_cpu.storage == jnp.uint16
    assert on_gpu.storage == on_tpu.storage == dtype
    widths = [backend.layout.width(64) for backend in (on_cpu, on_gpu, on_tpu)]
    assert widths == [64, 64, LANES]
