"""GGUF checkpoints: what the library writes comes out under canonical names."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from model.checkpoints import open_checkpoint
from model.checkpoints.gguf import GgufCheckpoint, half_split_rows
from model.checkpoints.names import gguf_name, tensor_shapes
from tests.model.checkpoints.tiny import (
    HEAD_DIM,
    HEADS,
    KV_HEADS,
    PARITY,
    VOCAB,
    WIDTH,
    Packed,
    tiny_gguf,
)

UNPACKED = [
    "F16",
    "BF16",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "TQ1_0",
    "TQ2_0",
    "MXFP4",
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ3_XXS",
    "IQ3_S",
    "IQ4_NL",
    "IQ4_XS",
]


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma3"])
def test_every_tensor_comes_out_under_its_canonical_name(arch: str, tmp_path: Path) -> None:
    tiny = tiny_gguf(arch)
    checkpoint = open_checkpoint(tiny.write(tmp_path / "tiny.gguf"))

    names = list(tensor_shapes(checkpoint.spec))
    assert sorted(gguf_name(name) for name in names) == sorted(tiny.tensors)
    for name in names:
        values = checkpoint.tensor(name)
        stored = tiny.tensors[gguf_name(name)]
        if arch == "llama" and name.rpartition(".")[2] in ("q", "k"):
            # The same rows in another order.
            assert sorted(values[:, 0]) == sorted(stored[:, 0])
            assert not np.array_equal(values, stored)
        else:
            np.testing.assert_array_equal(values, stored)
        assert values.dtype == np.float32
    checkpoint.close()


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma3"])
def test_text_assets_come_with_the_weights(arch: str, tmp_path: Path) -> None:
    text = open_checkpoint(tiny_gguf(arch).write(tmp_path / "tiny.gguf")).text

    assert text.kind == ("sentencepiece" if arch == "gemma3" else "bpe")
    assert text.vocab_size == VOCAB
    assert text.eos == (1,)


def test_rows_of_llama_are_those_of_the_hugging_face_model() -> None:
    """The same weights in both formats; the GGUF ones interleaved as the converter does."""
    folder, file = open_checkpoint(PARITY / "llama"), open_checkpoint(PARITY / "llama.gguf")

    assert folder.spec == file.spec
    for name in tensor_shapes(file.spec):
        np.testing.assert_array_equal(file.tensor(name), folder.tensor(name))


def test_interleaved_rows_are_put_back_head_by_head() -> None:
    rows = np.arange(8)  # two heads of four: (0, 2 | 1, 3) is stored as 0, 1, 2, 3

    assert half_split_rows(rows, heads=2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_biases_of_llama_are_reordered_with_their_rows(tmp_path: Path) -> None:
    tiny = tiny_gguf("llama", layers=1)
    random = np.random.default_rng(1)
    widths = {"q": HEADS * HEAD_DIM, "k": KV_HEADS * HEAD_DIM, "v": KV_HEADS * HEAD_DIM}
    biases = {part: random.standard_normal(n, dtype=np.float32) for part, n in widths.items()}
    for part, bias in biases.items():
        tiny.tensors[f"blk.0.attn_{part}.bias"] = bias

    checkpoint = open_checkpoint(tiny.write(tmp_path / "tiny.gguf"))

    assert checkpoint.spec.qkv_bias
    np.testing.assert_array_equal(
        checkpoint.tensor("layers.0.q_bias"), half_split_rows(biases["q"], HEADS)
    )
    np.testing.assert_array_equal(
        checkpoint.tensor("layers.0.k_bias"), half_split_rows(biases["k"], KV_HEADS)
    )
    np.testing.assert_array_equal(checkpoint.tensor("layers.0.v_bias"), biases["v"])


@pytest.mark.parametrize("name", UNPACKED)
def test_every_type_of_the_library_is_unpacked(name: str, tmp_path: Path) -> None:
    """Random packed bytes, unpacked here in our groups and there row by row."""
    columns = 256
    kind = Kind[name]
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(int(kind))
    packed = random.integers(0, 256, (VOCAB, columns // block * block_bytes), dtype=np.uint8)
    tiny = tiny_gguf("qwen2", layers=1, width=columns)
    tiny.tensors["token_embd.weight"] = Packed(packed, kind)

    values = open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).tensor("embed")

    with np.errstate(all="ignore"):
        expected = gguf.dequantize(packed, kind)
    np.testing.assert_array_equal(values, expected.astype(np.float32))


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.BF16])
def test_quantised_weights_are_close_to_the_original(kind: Kind, tmp_path: Path) -> None:
    """Larger than one group of blocks, so that a wrong order of groups would show."""
    tiny = tiny_gguf("qwen2", layers=1)
    rows = 9000
    original = np.random.default_rng(0).standard_normal((rows, WIDTH), dtype=np.float32)
    tiny.tensors["token_embd.weight"] = Packed(gguf.quantize(original, kind), kind)

    values = open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).tensor("embed")

    assert values.shape == (rows, WIDTH)
    assert np.sqrt(np.mean((values - original) ** 2)) < 0.15


def test_the_file_says_how_it_is_quantised(tmp_path: Path) -> None:
    tiny = tiny_gguf("llama")
    tiny.fields["general.file_type"] = 15
    assert open_checkpoint(tiny.write(tmp_path / "said.gguf")).quantization == "Q4_K_M"


def test_without_a_file_type_the_commonest_type_counts(tmp_path: Path) -> None:
    tiny = tiny_gguf("llama")
    del tiny.fields["general.file_type"]
    embed = tiny.tensors["token_embd.weight"]
    tiny.tensors["token_embd.weight"] = Packed(gguf.quantize(embed, Kind.Q8_0), Kind.Q8_0)
    assert open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).quantization == "F32"

    kept = {"token_embd.weight", "output_norm.weight"}
    for name in tiny.tensors.keys() - kept:
        tensor = tiny.tensors[name]
        if tensor.ndim == 2:
            tiny.tensors[name] = Packed(gguf.quantize(tensor, Kind.Q8_0), Kind.Q8_0)
    assert open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).quantization == "Q8_0"


def test_an_own_head_unties(tmp_path: Path) -> None:
    tiny = tiny_gguf("qwen2")
    assert open_checkpoint(tiny.write(tmp_path / "tied.gguf")).spec.tied_head

    head = np.ones((VOCAB, WIDTH), np.float32)
    tiny.tensors["output.weight"] = head
    checkpoint = open_checkpoint(tiny.write(tmp_path / "untied.gguf"))
    assert not checkpoint.spec.tied_head
    np.testing.assert_array_equal(checkpoint.tensor("head"), head)


def test_a_name_that_the_model_does_not_have_is_a_key_error(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_gguf("llama").write(tmp_path / "tiny.gguf"))
    with pytest.raises(KeyError):
        checkpoint.tensor("layers.0.q_norm")
    with pytest.raises(KeyError):
        checkpoint.tensor("layers.2.q")


def test_close_unmaps_the_file(tmp_path: Path) -> None:
    checkpoint = GgufCheckpoint(tiny_gguf("llama").write(tmp_path / "tiny.gguf"))
    values = checkpoint.tensor("final_norm")
    checkpoint.close()

    assert checkpoint._map.closed
    assert np.isfinite(values).all()  # a copy, not a view of what is gone
