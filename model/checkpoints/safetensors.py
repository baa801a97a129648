"""Checkpoints in a Hugging Face folder: config.json, safetensors, tokenizer files."""

from pathlib import Path

import numpy as np

from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.names import hf_name, tensor_shapes, unused_names
from model.checkpoints.safetensors_files import WeightFiles, read_json
from model.checkpoints.spec_hf import spec_from_config
from model.checkpoints.text_assets import text_of_folder
from model.checkpoints.values import short
from model.checkpoints.vision_hf import vision_names, vision_shapes
from model.spec import ModelSpec, UnsupportedModel
from model.text.assets import TextAssets

_DTYPES = {"F32", "F16", "BF16"}
# (prefix of the decoder, prefix of the head): plain; the hub's layout of multimodal models; the
# layout that transformers 5 keeps in memory and may save.
_PLACES = (
    ("model.", ""),
    ("language_model.model.", "language_model."),
    ("model.language_model.", ""),
)


class SafetensorsCheckpoint:
    """See `base.Checkpoint`. Tensors come out in the type that the file keeps (bfloat16,
    float16, float32), except gemma 3's norm scales, which are float32.

    Raises DamagedCheckpoint or UnsupportedModel on opening.
    """

    def __init__(self, folder: Path) -> None:
        self.spec: ModelSpec = spec_from_config(read_json(folder / "config.json", limit=2**20))
        self._files = WeightFiles(folder)
        self._shapes = tensor_shapes(self.spec)
        self._prefix, head = self._place()
        self._names = {
            name: hf_name(name, self.spec.family, self._prefix, head) for name in self._shapes
        }
        if self.spec.vision is not None:
            self._shapes |= vision_shapes(self.spec)
            self._names |= vision_names(self.spec, self._files.tensors)
        self._check_tensors()
        self.quantization: str = self._commonest_dtype()
        self.fingerprint: str = self._files.fingerprint()
        self.text: TextAssets = text_of_folder(folder, self.spec.vocab_size)

    def tensor(self, name: str) -> np.ndarray:
        """In the canonical shape. Raises KeyError."""
        values = self._files.read(self._names[name])
        if self.spec.family == "gemma3" and name.endswith("_norm"):
            return 1.0 + values.astype(np.float32)
        return values

    def four_bits(self, name: str) -> bool:
        """Never: the files hold floating-point numbers. Raises KeyError."""
        self._names[name]
        return False

    def close(self) -> None:
        self._files.close()

    def _place(self) -> tuple[str, str]:
        for prefix, head in _PLACES:
            if f"{prefix}embed_tokens.weight" in self._files.tensors:
                return prefix, head
        raise DamagedCheckpoint("tensor 'model.embed_tokens.weight' is missing")

    def _check_tensors(self) -> None:
        for canonical, name in self._names.items():
            stored = self._files.tensors.get(name)
            if stored is None:
                raise DamagedCheckpoint(f"tensor {name!r} is missing")
            if stored.shape != self._shapes[canonical]:
                raise DamagedCheckpoint(
                    f"tensor {name!r} has the shape {stored.shape}, not {self._shapes[canonical]}"
                )
            if stored.dtype not in _DTYPES:
                raise UnsupportedModel(f"tensor {name!r} has the type {stored.dtype}")
        known = set(self._names.values()) | unused_names(self.spec, self._prefix)
        for name in self._files.tensors.keys() - known:
            # Old exports carry the rotary frequencies, which follow from the configuration.
            if name.startswith(self._prefix) and not name.endswith("rotary_emb.inv_freq"):
                raise UnsupportedModel(
                    f"tensor {short(name)} has no place in a {self.spec.family} decoder"
                )

    def _commonest_dtype(self) -> str:
        sizes: dict[str, int] = {}
        for name in self._names.values():
            stored = self._files.tensors[name]
            sizes[stored.dtype] = sizes.get(stored.dtype, 0) + int(np.prod(stored.shape))
        return max(sizes, key=lambda dtype: sizes[dtype])
