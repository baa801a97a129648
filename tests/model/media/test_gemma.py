"""Gemma's preprocessing against what transformers' processors made (tests/fixtures/media)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.media.gemma import siglip_images, unified_audio, unified_patches, unified_positions
from model.media.sampling import evenly, frames_at
from model.media.sizes import (
    BUDGETS,
    SIGLIP_TOKENS,
    audio_tokens_of,
    siglip_crops,
    siglip_tokens,
    unified_audio_tokens,
    unified_image_tokens,
    unified_size,
)
from tests.model.media.pictures import textured

FIXTURES = Path(__file__).parents[2] / "fixtures" / "media"
STRIDE = 97
EXACT = 1e-6
RESIZED = 1 / 255 + EXACT
"""One step of eight bits: Pillow and torchvision round the same filter in different places."""

SIZES: dict[str, list[list[Any]]] = json.loads((FIXTURES / "sizes.json").read_text())
ARRAYS = dict(np.load(FIXTURES / "processors.npz"))

sides = st.integers(1, 20_000)
budgets = st.sampled_from(BUDGETS)


def test_sizes_are_those_of_transformers() -> None:
    for height, width, budget, tall, wide in SIZES["sizes"]:
        assert unified_size(height, width, budget) == (tall, wide), (height, width, budget)


def test_frames_are_sampled_as_by_transformers() -> None:
    for total, wanted, indices in SIZES["sampled"]:
        assert evenly(total, wanted) == indices


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("336_480_70", EXACT),
        ("100_150_70", RESIZED),
        ("37_411_140", RESIZED),
        ("500_300_280", RESIZED),
        ("3_300_70", RESIZED),
    ],
)
def test_patches_and_positions_are_those_of_transformers(name: str, tolerance: float) -> None:
    height, width, budget = map(int, name.split("_"))
    patches = unified_patches(textured(height, width), budget)
    expected = ARRAYS[f"image_{name}_patches"]
    assert patches[:, ::STRIDE].shape == expected.shape
    assert np.abs(patches[:, ::STRIDE] - expected).max() <= tolerance
    positions = unified_positions(height, width, budget)
    assert np.array_equal(positions, ARRAYS[f"image_{name}_positions"])


def test_frames_of_a_video_become_the_patches_of_transformers() -> None:
    made = np.stack([unified_patches(textured(60, 80, seed), 70) for seed in range(3)])
    assert np.abs(made[:, :, ::STRIDE] - ARRAYS["video_patches"]).max() <= RESIZED
    assert np.array_equal(unified_positions(60, 80, 70), ARRAYS["video_positions"])


def test_sound_becomes_the_frames_of_transformers() -> None:
    samples = np.sin(np.arange(1500) / 9).astype(np.float32)
    assert np.array_equal(unified_audio(samples), ARRAYS["audio"])


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("896_896_0", EXACT),
        ("300_500_0", 2 * RESIZED),
        ("300_900_1", 2 * RESIZED),
        ("1300_520_1", 2 * RESIZED),
    ],
)
def test_siglips_pixels_and_crops_are_those_of_transformers(name: str, tolerance: float) -> None:
    height, width, pan = map(int, name.split("_"))
    made = siglip_images(textured(height, width), bool(pan))
    expected = ARRAYS[f"siglip_{name}"]
    assert made.dtype == np.float32
    assert made.shape == (len(expected), 896, 896, 3)
    assert np.abs(made[:, ::STRIDE, ::STRIDE] - expected).max() <= tolerance
    assert siglip_tokens(height, width, bool(pan)) == SIGLIP_TOKENS * len(expected)


@given(sides, sides, budgets)
def test_an_image_of_any_size_keeps_to_its_budget(height: int, width: int, budget: int) -> None:
    tall, wide = unified_size(height, width, budget)
    assert tall % 48 == wide % 48 == 0
    assert 1 <= unified_image_tokens(height, width, budget) <= budget
    assert len(unified_positions(height, width, budget)) == tall * wide // 48**2


@given(sides, sides)
def test_a_turned_image_has_the_turned_size(height: int, width: int) -> None:
    assert unified_size(height, width, 280) == unified_size(width, height, 280)[::-1]


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from((70, 140)))
def test_the_tokens_that_are_counted_are_the_patches_that_are_made(
    height: int, width: int, budget: int
) -> None:
    patches = unified_patches(textured(height, width), budget)
    assert patches.shape == (unified_image_tokens(height, width, budget), 6912)
    assert 0 <= patches.min() <= patches.max() <= 1


@given(st.integers(0, 5000))
def test_every_sample_is_in_its_frame_and_the_rest_is_silence(count: int) -> None:
    samples = np.arange(1, count + 1, dtype=np.float32)
    frames = unified_audio(samples)
    assert frames.shape == (unified_audio_tokens(count), 640)
    assert np.array_equal(frames.reshape(-1)[:count], samples)
    assert not frames.reshape(-1)[count:].any()


def test_a_second_of_sound_has_25_tokens() -> None:
    assert audio_tokens_of(1.0) == 25
    assert audio_tokens_of(1.01) == 26


@given(sides, sides)
def test_crops_cover_a_long_image_without_overlap(height: int, width: int) -> None:
    crops = siglip_crops(height, width)
    assert len(crops) <= 4
    if crops:
        assert sum(tall * wide for _, _, tall, wide in crops) == height * width
        assert min(tall * wide for _, _, tall, wide in crops) > 0


@given(
    st.lists(st.floats(0.001, 5), min_size=0, max_size=60), st.floats(0.1, 60), st.integers(1, 40)
)
def test_frames_at_a_rate_ascend_and_keep_to_the_limit(
    gaps: list[float], fps: float, most: int
) -> None:
    times = [0.0, *np.cumsum(gaps).tolist()]
    chosen = frames_at(times, fps, most)
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= most
    assert chosen[0] == 0
    assert chosen[-1] < len(times)


def test_one_frame_a_second_is_taken_from_ten() -> None:
    times = [index / 10 for index in range(50)]
    assert frames_at(times, 1.0, 32) == [0, 10, 20, 30, 40]
    assert frames_at(times, 1.0, 2) == [0, 20]
