"""Whatever is wrong with a GGUF file, one line says it."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.checkpoints import Checkpoint, DamagedCheckpoint, UnsupportedModel, open_checkpoint
from model.checkpoints.gguf_header import read_header
from model.checkpoints.names import tensor_shapes
from tests.model.checkpoints.tiny import WIDTH, Packed, TinyGguf, is_one_line, tiny_gguf

Change = Callable[[TinyGguf], None]


def opening(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spoiled.gguf"
    path.write_bytes(data)
    open_checkpoint(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_gguf("llama").write(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


def test_a_truncated_file_names_the_tensor_that_is_cut(whole: bytes, tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint) as caught:
        opening(whole[:-1], tmp_path)
    size = len(whole)
    assert str(caught.value) == (
        f"file is truncated: tensor 'blk.1.ffn_down.weight' ends at byte {size}, "
        f"the file has {size - 1}"
    )


@pytest.mark.parametrize("length", [0, 3, 4, 8, 20, 24, 30, 500, 4000])
def test_a_file_cut_in_its_header_is_damaged(whole: bytes, tmp_path: Path, length: int) -> None:
    with pytest.raises(DamagedCheckpoint, match=r"truncated|empty"):
        opening(whole[:length], tmp_path)


def test_a_file_that_is_no_gguf_says_how_it_begins(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match=r"not a GGUF file.*b'PK"):
        opening(b"PK\x03\x04" + bytes(100), tmp_path)


def test_missing_files_and_devices_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match="No such file"):
        open_checkpoint(tmp_path / "nothing.gguf")
    with pytest.raises(DamagedCheckpoint, match="not a file"):
        open_checkpoint(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("version", "message"),
    [(1, "GGUF version 1"), (4, "GGUF version 4"), (0x03000000, "big-endian")],
)
def test_other_versions_are_unsupported(
    whole: bytes, tmp_path: Path, version: int, message: str
) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        opening(whole[:4] + struct.pack("<I", version) + whole[8:], tmp_path)


def drop(name: str) -> Change:
    def change(tiny: TinyGguf) -> None:
        del (tiny.tensors if name in tiny.tensors else tiny.fields)[name]

    return change


def put(key: str, value: object) -> Change:
    return lambda tiny: tiny.fields.update({key: value})


def tensor(name: str, *shape: int) -> Change:
    return lambda tiny: tiny.tensors.update({name: np.zeros(shape, np.float32)})


def in_q1(tiny: TinyGguf) -> None:
    block, block_bytes = gguf.GGML_QUANT_SIZES[Kind.Q1_0]
    rows = np.zeros((300, 128 // block * block_bytes), np.uint8)
    tiny.tensors["token_embd.weight"] = Packed(rows, Kind.Q1_0)


def unknown_architecture(tiny: TinyGguf) -> None:
    tiny.arch = "mamba"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (drop("output_norm.weight"), DamagedCheckpoint, "'output_norm.weight' is missing"),
        (drop("token_embd.weight"), DamagedCheckpoint, "'token_embd.weight' is missing"),
        (drop("blk.1.ffn_up.weight"), DamagedCheckpoint, "'blk.1.ffn_up.weight' is missing"),
        (drop("llama.block_count"), DamagedCheckpoint, "llama.block_count is missing"),
        (
            tensor("blk.0.attn_q.weight", 64, 32),
            DamagedCheckpoint,
            r"shape \(64, 32\), not \(64, 64",
        ),
        (tensor("blk.0.attn_q.weight", 4, 16, 64), DamagedCheckpoint, "shape"),
        (put("llama.block_count", 3), DamagedCheckpoint, "'blk.2.*is missing"),
        (put("llama.block_count", 1), UnsupportedModel, "'blk.1.*no place in a llama decoder"),
        (put("llama.block_count", 0), DamagedCheckpoint, "block_count is 0"),
        (put("llama.block_count", 2**31), DamagedCheckpoint, "block_count is 2147483648"),
        (put("llama.block_count", "two"), DamagedCheckpoint, "must be a whole number"),
        (put("llama.block_count", True), DamagedCheckpoint, "must be a whole number"),
        (put("llama.attention.head_count", [4]), DamagedCheckpoint, "1 entries for 2 layers"),
        (put("llama.attention.head_count_kv", 3), DamagedCheckpoint, "do not divide"),
        (
            put("llama.rope.freq_base", float("nan")),
            DamagedCheckpoint,
            "freq_base must be a number",
        ),
        (put("llama.rope.freq_base", 0.0), DamagedCheckpoint, "freq_base is 0.0"),
        (put("general.alignment", 7), DamagedCheckpoint, "alignment is 7"),
        (put("llama.rope.dimension_count", 8), UnsupportedModel, "rope.dimension_count 8"),
        (put("llama.rope.scaling.type", "yarn"), UnsupportedModel, "rotary scaling 'yarn'"),
        (put("llama.expert_count", 8), UnsupportedModel, "mixture-of-experts"),
        (put("llama.attention.sliding_window", 8), UnsupportedModel, "sliding window"),
        (put("llama.final_logit_softcapping", 30.0), UnsupportedModel, "softcapping"),
        (put("split.count", 2), UnsupportedModel, "split into 2"),
        (put("tokenizer.ggml.model", "bert"), UnsupportedModel, "bert"),
        (put("tokenizer.ggml.tokens", ["a"]), DamagedCheckpoint, "tokenizer"),
        (tensor("token_embd.weight", 299, WIDTH), DamagedCheckpoint, "300 tokens.*299 rows"),
        (tensor("blk.0.attn_output.bias", 64), UnsupportedModel, "'blk.0.attn_output.bias'"),
        (in_q1, UnsupportedModel, "'token_embd.weight' has the type Q1_0"),
        (unknown_architecture, UnsupportedModel, "'mamba'.*llama, qwen2, gemma3"),
    ],
)
def test_each_thing_that_may_be_wrong_has_its_line(
    change: Change, error: type[Exception], message: str, tmp_path: Path
) -> None:
    tiny = tiny_gguf("llama")
    change(tiny)
    if change is in_q1:
        tiny = tiny_gguf("llama", width=128)
        change(tiny)
    path = tiny.write(tmp_path / "spoiled.gguf")
    with pytest.raises(error, match=message) as caught:
        open_checkpoint(path)
    assert is_one_line(caught.value)


def field(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def header(*fields: bytes, tensors: int = 0, count: int | None = None) -> bytes:
    total = len(fields) if count is None else count
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, total) + b"".join(fields)


@pytest.mark.parametrize(
    "data",
    [
        header(count=2**60),
        header(tensors=2**60),
        header(count=2**16),
        header(struct.pack("<Q", 2**62)),
        header(field("a", 8, struct.pack("<Q", 2**62))),
        header(field("a", 9, struct.pack("<IQ", 8, 2**62))),
        header(field("a", 9, struct.pack("<IQ", 8, 2**22))),
        header(field("a", 9, struct.pack("<IQ", 4, 2**62))),
        header(field("a", 9, struct.pack("<IQ", 12, 2**23))),
        header(field("a", 77, b"")),
        header(field("a", 9, struct.pack("<IQ", 77, 1))),
        header(field("a", 4, b"1234"), field("a", 4, b"1234")),
        header(struct.pack("<Q", 1) + b"\xff"),
        header(tensors=1) + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 2**31),
        header(tensors=1) + struct.pack("<Q1sI4QIQ", 1, b"t", 4, *[2**63] * 4, 0, 0),
        header(tensors=1) + struct.pack("<Q1sIQIQ", 1, b"t", 1, 0, 0, 0),
        header(tensors=1) + struct.pack("<Q1sIQIQ", 1, b"t", 1, 31, 2, 0),
        header(tensors=1) + struct.pack("<Q1sIQIQ", 1, b"t", 1, 1, 0, 2**63),
        header(tensors=1) + struct.pack("<Q1sIQIQ", 1, b"t", 1, 1, 0, 1),
    ],
)
def test_absurd_claims_are_refused_before_anything_is_allocated(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DamagedCheckpoint) as caught:
            read_header(memoryview(data))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert is_one_line(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        header(field("a", 9, struct.pack("<IQ", 9, 1))),
        header(tensors=1) + struct.pack("<Q1sIQIQ", 1, b"t", 1, 1, 999, 0),
    ],
)
def test_arrays_of_arrays_and_unknown_types_are_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        read_header(memoryview(data))
    assert is_one_line(caught.value)


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def spoilable(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, Path, int]:
    path = tiny_gguf(request.param, layers=1).write(tmp_path_factory.mktemp("fuzz") / "tiny.gguf")
    data = path.read_bytes()
    return data, path, read_header(memoryview(data)).size


def opened_or_refused(path: Path) -> Checkpoint | None:
    try:
        return open_checkpoint(path)
    except (DamagedCheckpoint, UnsupportedModel) as error:
        if not is_one_line(error):
            raise
        return None


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_spoiled_header_is_damaged_or_unsupported_or_harmless(
    spoilable: tuple[bytes, Path, int], data: st.DataObject
) -> None:
    whole, path, header_bytes = spoilable
    spoiled = bytearray(whole)
    place = st.integers(0, header_bytes - 9)
    junk = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.integers(0, 2**64 - 1).map(lambda value: struct.pack("<Q", value)),
        st.sampled_from([0, 1, 8, 9, 2**31, 2**32 - 1]).map(lambda value: struct.pack("<I", value)),
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at, bytes_ = data.draw(place), data.draw(junk)
        spoiled[at : at + len(bytes_)] = bytes_
    if data.draw(st.booleans()):
        del spoiled[data.draw(st.integers(0, len(spoiled))) :]
    path.write_bytes(spoiled)

    checkpoint = opened_or_refused(path)
    if checkpoint is None:
        return
    for name, shape in tensor_shapes(checkpoint.spec).items():
        assert checkpoint.tensor(name).shape == shape
    checkpoint.close()
