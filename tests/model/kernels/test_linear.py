"""Products over packed weights against numpy on the same integers; packing against its bound."""

import platform
import resource
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kernels import ops
from model.kernels.library import load_kernels
from model.kernels.packed import Bits, PackedMatrix, pack, pack_gated
from model.nn.ops import gated, rms_norm
from model.spec import Activation

LIBRARY = load_kernels()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="no C++ compiler here")


def unpacked(matrix: PackedMatrix, N: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """A packed matrix [N, D] in floats, and its scales [N, ceil(D / 32)]."""
    blob, unit = np.asarray(matrix.blob), float(matrix.unit[0])
    tiles, groups, _ = blob.shape

    def halves(first: int) -> np.ndarray:
        found = np.ascontiguousarray(blob[..., first : first + 64]).view(np.float16)
        return found.astype(np.float32).transpose(0, 2, 1).reshape(tiles * 32, groups) * unit

    scales = halves(0)
    if matrix.bits == 8:
        values = blob[..., 64:].reshape(tiles, groups, 8, 32, 4).astype(np.int32) - 128
        least = np.zeros_like(scales)
    else:
        both = blob[..., 128:].reshape(tiles, groups, 4, 1, 32, 4).astype(np.int32)
        values = np.concatenate([both & 15, both >> 4], axis=3)
        least = halves(64)
    values = values.reshape(tiles, groups, 8, 32, 4).transpose(0, 3, 1, 2, 4)
    dense = values.reshape(tiles * 32, groups, 32) * scales[..., None] + least[..., None]
    return dense.reshape(tiles * 32, -1)[:N, :D], scales[:N]


def dense(matrix: PackedMatrix, N: int, D: int) -> np.ndarray:
    return unpacked(matrix, N, D)[0]


def quantised(x: np.ndarray) -> np.ndarray:
    """x[M, D] as the kernel rounds it: eight bits and a scale for every 32."""
    M, D = x.shape
    groups = np.pad(x, ((0, 0), (0, -D % 32))).reshape(M, -1, 32)
    peak = np.abs(groups).max(-1, keepdims=True)
    inverse = np.divide(127, peak, out=np.zeros_like(peak), where=peak > 0)
    return (np.rint(groups * inverse) * (peak / 127)).reshape(M, -1)[:, :D]


@dataclass(frozen=True)
class Case:
    rows: int
    inputs: int
    outputs: int
    norm: bool
    activation: Activation | None
    post_norm: bool
    residual: bool
    bits: Bits
    size: float
    seed: int


@st.composite
def cases(draw) -> Case:
    activation = draw(st.sampled_from([None, None, "silu", "gelu_tanh"]))
    return Case(
        rows=draw(st.one_of(st.integers(1, 14), st.sampled_from([32, 65, 257]))),
        inputs=draw(st.integers(1, 200)),
        outputs=draw(st.integers(1, 200)),
        norm=draw(st.booleans()),
        activation=activation,
        # A norm would blow up what float32 leaves of an activation that is nearly zero.
        post_norm=activation is None and draw(st.booleans()),
        residual=draw(st.booleans()),
        bits=draw(st.sampled_from([8, 4])),
        size=draw(st.sampled_from([1e-6, 0.02, 1.0, 3e4])),
        seed=draw(st.integers(0, 2**20)),
    )


@settings(max_examples=80, deadline=None)
@given(cases())
def test_products_are_those_of_the_integers_with_what_surrounds_them(case):
    rng = np.random.default_rng(case.seed)
    M, D, N = case.rows, case.inputs, case.outputs

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    x, norm, post_norm, residual = random(M, D), random(D), random(N), random(M, N)
    if case.activation is None:
        weights = case.size * random(N, D)
        packed = pack(LIBRARY, weights, case.bits)
    else:
        weights = case.size * random(2, N, D)
        packed = pack_gated(LIBRARY, *weights, case.bits)
    found = ops.linear(
        jnp.asarray(x),
        packed,
        N,
        norm=norm if case.norm else None,
        activation=case.activation,
        post_norm=post_norm if case.post_norm else None,
        residual=residual if case.residual else None,
        eps=1e-6,
    )
    if case.norm:
        x = np.asarray(rms_norm(jnp.asarray(x), jnp.asarray(norm), 1e-6))
    rows = quantised(x).astype(np.float64)
    if case.activation is None:
        wanted = rows @ dense(packed, N, D).T
        room = np.abs(rows) @ np.abs(dense(packed, N, D)).T
    else:
        count = -(-N // 16) * 16
        both = dense(packed, 2 * count, D).reshape(-1, 2, 16, D).swapaxes(0, 1)
        halves = [half.reshape(count, D)[:N] for half in both]
        gate, up = (rows @ half.T for half in halves)
        wanted = np.asarray(gated(case.activation, jnp.asarray(gate), jnp.asarray(up)))
        sizes = [np.abs(rows) @ np.abs(half).T for half in halves]
        room = 0.1 * sizes[0] * sizes[1] + np.abs(gate) + np.abs(up)
    if case.post_norm:
        wanted = np.asarray(rms_norm(jnp.asarray(wanted), jnp.asarray(post_norm), 1e-6))
        room = np.abs(post_norm) * np.sqrt(N)
    if case.residual:
        wanted = wanted + residual
        room = room + np.abs(residual)
    # A value just between two integers may be rounded to either: one step of one input.
    step = (2 if case.norm else 0.02) / 127
    assert (np.abs(np.asarray(found) - wanted) <= 1e-4 * room + step * room.max()).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([0.0, 1e-8, 0.02, 1.0, 1e6]),
    st.integers(0, 2**20),
    st.sampled_from([8, 4]),
)
def test_packed_weights_are_within_half_a_step(N, D, size, seed, bits):
    rng = np.random.default_rng(seed)
    weights = (size * rng.normal(size=(N, D)) * np.exp(rng.normal(size=(N, 1)))).astype(np.float32)
    packed = pack(LIBRARY, weights, bits)
    values, scales = unpacked(packed, N, D)
    # A little more than half a step: scales are rounded too.
    steps = np.repeat(scales, 32, axis=1)[:, :D]
    assert (np.abs(values - weights) <= 0.56 * steps + 2e-3 * np.abs(weights)).all()


def test_weights_that_a_file_keeps_in_eight_bits_stay_exactly_as_they_are():
    rng = np.random.default_rng(0)
    integers = rng.integers(-127, 128, (70, 3, 32))
    integers[..., 5] = 127
    scales = rng.uniform(1e-3, 1e-1, (70, 3, 1)).astype(np.float16).astype(np.float32)
    weights = (integers * scales).reshape(70, 96).astype(np.float32)
    assert (dense(pack(LIBRARY, weights), 70, 96) == weights).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("inputs", [640, 100])
def test_a_row_is_the_same_bit_for_bit_in_every_batch(inputs, bits):
    rng = np.random.default_rng(1)
    packed = pack(LIBRARY, rng.normal(size=(200, inputs)).astype(np.float32), bits)
    x = jnp.asarray(rng.normal(size=(65, inputs)), jnp.float32)
    together = np.asarray(ops.linear(x, packed, 200))
    for size in (1, 2, 3, 4, 7, 32, 64):
        assert (np.asarray(ops.linear(x[:size], packed, 200)) == together[:size]).all()


@pytest.mark.parametrize("live", ["none", "one", "some", "all"])
@pytest.mark.parametrize("activation", [None, "gelu_tanh"])
def test_rows_that_are_not_live_are_neither_read_nor_change_the_others(live, activation):
    rng = np.random.default_rng(3)
    M, D, N = 300, 70, 100
    rows = {"none": [], "one": [299], "some": sorted(rng.choice(M, 37, replace=False))}
    marks = np.full(M, -1, np.int32)
    marks[rows.get(live, list(range(M)))] = 5
    x, residual = (rng.normal(size=(M, n)).astype(np.float32) for n in (D, N))
    x[marks < 0] = residual[marks < 0] = np.nan
    weights = rng.normal(size=(2, N, D)).astype(np.float32)
    packed = pack_gated(LIBRARY, *weights) if activation else pack(LIBRARY, weights[0])
    around = {"norm": np.ones(D, np.float32), "post_norm": np.ones(N, np.float32), "eps": 1e-6}
    around["activation"] = activation
    kept = marks >= 0
    found = ops.linear(jnp.asarray(x), packed, N, live=marks, residual=residual, **around)
    wanted = ops.linear(jnp.asarray(x[kept]), packed, N, residual=residual[kept], **around)
    assert (np.asarray(found)[kept] == np.asarray(wanted)).all()
    assert np.isfinite(np.asarray(wanted)).all()


def test_rows_that_are_not_live_cost_nothing():
    rng = np.random.default_rng(4)
    packed = pack(LIBRARY, rng.normal(size=(20000, 640)).astype(np.float32))
    call = jax.jit(lambda x, live: ops.linear(x, packed, 20000, live=live))
    x = jnp.asarray(rng.normal(size=(256, 640)), jnp.float32)

    def seconds(live: np.ndarray) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            call(x, live).block_until_ready()
            times.append(time.perf_counter() - start)
        return min(times)

    few = np.full(256, -1, np.int32)
    few[100] = 1
    assert seconds(few) < 0.5 * seconds(np.zeros(256, np.int32))


@pytest.mark.parametrize("bits", [8, 4])
def test_embeddings_are_the_rows_of_the_table(bits):
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(130, 50)).astype(np.float32)
    packed = pack(LIBRARY, weights, bits)
    tokens = jnp.asarray([[0, 129], [64, 7]], jnp.int32)
    found = np.asarray(ops.embed(tokens, packed, 50, 2.0))
    wanted = 2 * dense(packed, 130, 50)[np.asarray(tokens)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    live = jnp.asarray([[-1, 0], [0, -1]], jnp.int32)
    some = np.asarray(ops.embed(jnp.where(live < 0, 10**9, tokens), packed, 50, 2.0, live))
    assert (some[live >= 0] == found[live >= 0]).all()


def test_a_matrix_of_another_shape_is_refused():
    packed = pack(LIBRARY, np.ones((64, 32), np.float32))
    with pytest.raises(Exception, match="linear: shapes"):
        ops.linear(jnp.ones((1, 64)), packed, 64).block_until_ready()


def test_denormal_numbers_are_zero_on_every_thread():
    rng = np.random.default_rng(5)
    packed = pack(LIBRARY, rng.normal(size=(256, 64)).astype(np.float32))
    x = jnp.asarray(np.full((64, 64), 1e-39), jnp.float32)
    assert (np.asarray(ops.linear(x, packed, 256)) == 0).all()


def test_arrays_of_another_type_or_size_are_refused():
    packed = pack(LIBRARY, np.ones((64, 32), np.float32))
    with pytest.raises(Exception, match="dtype"):
        ops.linear(jnp.ones((1, 32), jnp.bfloat16), packed, 64).block_until_ready()
    short = PackedMatrix(packed.blob[:1], packed.unit)
    with pytest.raises(Exception, match="linear: shapes"):
        ops.linear(jnp.ones((1, 32)), short, 64).block_until_ready()
    with pytest.raises(Exception, match="embed: shapes"):
        ops.embed(jnp.zeros(1, jnp.int32), packed, 64, 1.0).block_until_ready()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is set up for glibc only")
def test_large_products_touch_no_fresh_memory_from_call_to_call():
    packed = pack(LIBRARY, np.ones((262144, 32), np.float32))
    call = jax.jit(lambda x: ops.linear(x, packed, 262144)[:, 0])
    x = jnp.ones((34, 32))
    for _ in range(3):
        call(x).block_until_ready()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        call(x).block_until_ready()
    pages = 10 * 34 * 262144 * 4 // 4096
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages / 10
