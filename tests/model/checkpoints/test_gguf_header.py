"""Our header reader against the `gguf` library's own."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from model.checkpoints.gguf_header import read_header
from tests.model.checkpoints.tiny import tiny_gguf


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma3"])
def test_fields_and_tensors_are_those_that_the_library_reads(arch: str, tmp_path: Path) -> None:
    path = tiny_gguf(arch).write(tmp_path / "tiny.gguf")

    header = read_header(memoryview(path.read_bytes()))

    reader = GGUFReader(path)
    theirs = {name: field.contents() for name, field in reader.fields.items()}
    assert header.fields == {
        name: value for name, value in theirs.items() if not name.startswith("GGUF.")
    }
    assert list(header.tensors) == [tensor.name for tensor in reader.tensors]
    for tensor in reader.tensors:
        info = header.tensors[tensor.name]
        assert info.start == tensor.data_offset
        assert info.end == tensor.data_offset + tensor.n_bytes
        assert info.shape == tuple(reversed(tensor.shape.tolist()))
        assert info.type == tensor.tensor_type
    assert header.size == reader.data_offset


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "values.gguf"
    writer = GGUFWriter(path, "llama")
    expected = {
        "u8": 200,
        "i8": -100,
        "u16": 60000,
        "i16": -30000,
        "u32": 4_000_000_000,
        "i32": -2_000_000_000,
        "u64": 2**63,
        "i64": -(2**62),
        "f32": 0.5,
        "f64": 0.1,
        "yes": True,
        "text": "Grüße\n",
    }
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -100)
    writer.add_uint16("u16", 60000)
    writer.add_int16("i16", -30000)
    writer.add_uint32("u32", 4_000_000_000)
    writer.add_int32("i32", -2_000_000_000)
    writer.add_uint64("u64", 2**63)
    writer.add_int64("i64", -(2**62))
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_string("text", "Grüße\n")
    writer.add_array("texts", ["a", "", "ü"])
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("flags", [True, False])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()

    fields = read_header(memoryview(path.read_bytes())).fields

    arrays = {"texts": ["a", "", "ü"], "numbers": [1, -2, 3], "flags": [True, False]}
    assert fields == {"general.architecture": "llama"} | expected | arrays


def test_data_begin_where_the_alignment_says(tmp_path: Path) -> None:
    path = tmp_path / "aligned.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_custom_alignment(4096)
    writer.add_tensor("t", np.arange(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    header = read_header(memoryview(path.read_bytes()))

    assert header.size == 4096
    assert (header.tensors["t"].start, header.tensors["t"].end) == (4096, 4112)
