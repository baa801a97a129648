"""Weights are the same when their fingerprint is, as far as its docstring promises."""

import random

import pytest

from model.checkpoints import open_checkpoint
from model.checkpoints.fingerprint import fingerprint
from tests.model.checkpoints.tiny import PARITY

HEADER = 1000
LARGE = random.Random(0).randbytes(2_000_000)


def of(data: bytes, header: int = HEADER) -> str:
    return fingerprint([(memoryview(data), header)])


def changed(data: bytes, at: int) -> bytes:
    copy = bytearray(data)
    copy[at] ^= 1
    return bytes(copy)


def test_it_is_stable_across_versions() -> None:
    """Workers of different versions must agree on it."""
    assert of(bytes(range(256)) * 10, header=100) == (
        "60e88a7a8599e606885ecd356c048869fb46c10823a709b6945593a7f2d5df23"
    )


@pytest.mark.parametrize("at", [0, 999, 1000, 5000, len(LARGE) - 1])
def test_header_first_and_last_data_count(at: int) -> None:
    assert of(changed(LARGE, at)) != of(LARGE)


def test_every_byte_of_a_small_file_counts() -> None:
    small = LARGE[:20_000]
    whole = of(small)
    assert all(of(changed(small, at)) != whole for at in range(0, len(small), 97))


def test_the_size_counts() -> None:
    assert of(LARGE + b"\0") != of(LARGE)


def test_the_border_between_header_and_data_counts() -> None:
    assert of(LARGE, header=1001) != of(LARGE, header=1000)


def test_of_several_files_the_order_counts() -> None:
    one, other = (memoryview(LARGE[:5000]), 10), (memoryview(LARGE[5000:12000]), 10)
    assert fingerprint([one, other]) != fingerprint([other, one])


def test_checkpoints_with_different_weights_differ() -> None:
    names = ["llama", "llama-scaled", "qwen2", "gemma3", "llama.gguf"]
    assert len({open_checkpoint(PARITY / name).fingerprint for name in names}) == len(names)
    again = open_checkpoint(PARITY / "llama").fingerprint
    assert again == open_checkpoint(PARITY / "llama").fingerprint
