"""Checkpoints in a GGUF file, mapped into memory and dequantised tensor by tensor."""

import contextlib
import mmap
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType
from gguf.quants import dequantize

from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.fingerprint import fingerprint
from model.checkpoints.gguf_header import GgufHeader, TensorInfo, read_header
from model.checkpoints.llama3_factors import scaling_from_factors, with_scaling
from model.checkpoints.names import gguf_name, split_layer, tensor_shapes
from model.checkpoints.spec_gguf import spec_from_gguf
from model.checkpoints.text_assets import text_of_gguf
from model.checkpoints.values import short
from model.spec import ModelSpec, UnsupportedModel
from model.text.assets import TextAssets

_SIXTEEN_LEVELS = (
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q4_1,
    GGMLQuantizationType.Q4_K,
)
_ROPE_FACTORS = "rope_freqs.weight"
_GROUP_BYTES = 2**17
"""Packed bytes dequantised at a time: the temporaries of that many stay in the CPU's cache."""


class GgufCheckpoint:
    """See `base.Checkpoint`. Tensors come out as float32, whatever they are packed in.

    Raises DamagedCheckpoint or UnsupportedModel on opening.
    """

    def __init__(self, path: Path) -> None:
        self._map = _mapped(path)
        self._data = memoryview(self._map)
        header = read_header(self._data)
        self._tensors = header.tensors
        self.spec: ModelSpec = self._read_spec(header)
        self._shapes = tensor_shapes(self.spec)
        self._check_tensors()
        self.quantization: str = _quantization(header)
        self.fingerprint: str = fingerprint([(self._data, header.size)])
        self.text: TextAssets = text_of_gguf(header.fields, self.spec.vocab_size)

    def tensor(self, name: str) -> np.ndarray:
        """float32, in the canonical shape and row order. Raises KeyError."""
        shape = self._shapes[name]
        values = self._unpacked(self._tensors[gguf_name(name)]).reshape(shape)
        if self.spec.family != "llama" or not name.startswith("layers."):
            return values
        index, part = split_layer(name)
        layer = self.spec.layers[index]
        if part in ("q", "q_bias"):
            return half_split_rows(values, layer.heads)
        if part in ("k", "k_bias"):
            return half_split_rows(values, layer.kv_heads)
        return values

    def four_bits(self, name: str) -> bool:
        """See `base.Checkpoint`."""
        self._shapes[name]
        return self._tensors[gguf_name(name)].type in _SIXTEEN_LEVELS

    def close(self) -> None:
        """The file stays mapped only while an array still looks into it."""
        with contextlib.suppress(BufferError):
            self._data.release()
            self._map.close()

    def _read_spec(self, header: GgufHeader) -> ModelSpec:
        spec = spec_from_gguf(header.fields, header.tensors)
        factors = header.tensors.get(_ROPE_FACTORS)
        if factors is None:
            return spec
        if factors.shape != (spec.layers[0].head_dim // 2,):
            raise DamagedCheckpoint(f"tensor {_ROPE_FACTORS!r} has the shape {factors.shape}")
        scaling = scaling_from_factors(self._unpacked(factors), spec)
        return with_scaling(spec, scaling)

    def _check_tensors(self) -> None:
        expected = {gguf_name(name): shape for name, shape in self._shapes.items()}
        for name, shape in expected.items():
            info = self._tensors.get(name)
            if info is None:
                raise DamagedCheckpoint(f"tensor {name!r} is missing")
            if info.shape != shape:
                raise DamagedCheckpoint(f"tensor {name!r} has the shape {info.shape}, not {shape}")
        for name in self._tensors.keys() - expected.keys() - {_ROPE_FACTORS}:
            raise UnsupportedModel(
                f"tensor {short(name)} has no place in a {self.spec.family} decoder"
            )
        for kind, name in {self._tensors[name].type: name for name in expected}.items():
            _check_type(kind, name)

    def _unpacked(self, info: TensorInfo) -> np.ndarray:
        packed = np.frombuffer(self._data[info.start : info.end], np.uint8)
        block, block_bytes = GGML_QUANT_SIZES[info.type]
        values = np.empty(len(packed) // block_bytes * block, np.float32)
        # Blocks are independent, so they are unpacked in groups of the size that is fast;
        # the library's own grouping, by 16 rows, makes 16,384 of an embedding table.
        step = max(1, _GROUP_BYTES // block_bytes)
        # Damaged weights may overflow: that shows in the output, not as a warning here.
        with np.errstate(all="ignore"):
            for at in range(0, len(packed) // block_bytes, step):
                group = packed[at * block_bytes : (at + step) * block_bytes]
                values[at * block : (at + step) * block] = dequantize(group[None], info.type)
        return values


def half_split_rows(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the converter's reordering of q and k rows [heads * K, ...] of llama models.

    Within a head the file interleaves the two halves (0, K/2, 1, K/2 + 1, ...), because
    llama.cpp rotates neighbouring pairs there.
    """
    half = rows.shape[0] // heads // 2
    pairs = rows.reshape(heads, half, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


def _mapped(path: Path) -> mmap.mmap:
    if path.exists() and not path.is_file():
        raise DamagedCheckpoint(f"{path} is not a file")
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise DamagedCheckpoint(f"{path.name} is empty") from None
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: {error.strerror}") from None


def _check_type(kind: GGMLQuantizationType, name: str) -> None:
    """The library says what it can unpack only when asked to."""
    _, block_bytes = GGML_QUANT_SIZES[kind]
    try:
        dequantize(np.zeros((1, block_bytes), np.uint8), kind)
    except NotImplementedError:
        raise UnsupportedModel(f"tensor {name!r} has the type {kind.name}") from None


def _quantization(header: GgufHeader) -> str:
    """The file's own word for it, or the type that most of its bytes have."""
    claim = header.fields.get("general.file_type")
    if isinstance(claim, int) and claim in LlamaFileType._value2member_map_:
        name = LlamaFileType(claim).name.removeprefix("ALL_").removeprefix("MOSTLY_")
        if name != "GUESSED":
            return name
    sizes: dict[str, int] = {}
    for info in header.tensors.values():
        sizes[info.type.name] = sizes.get(info.type.name, 0) + info.end - info.start
    return max(sizes, key=lambda name: sizes[name])
