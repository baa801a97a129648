"""Folders of Gemma 4: layouts of multimodal models, and what files carry that nothing uses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model.checkpoints import DamagedCheckpoint, UnsupportedModel, open_checkpoint
from model.checkpoints.names import tensor_shapes
from tests.model.checkpoints.tiny import PARITY

FOLDERS = ["gemma4", "gemma4-inputs", "gemma4-experts"]
WEIGHTS = "model.safetensors"


def copied(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(PARITY / name, tmp_path / name))


def as_part_of_a_multimodal_model(folder: Path, prefix: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    wrapped = {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "text_config": config,
        "vision_config": {"hidden_size": 768},
    }
    (folder / "config.json").write_text(json.dumps(wrapped))
    tensors = load_file(folder / WEIGHTS)
    moved = {prefix + name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    moved["model.vision_tower.patch_embedder.input_proj.weight"] = np.zeros((2, 2), np.float32)
    save_file(moved, folder / WEIGHTS)


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model."])
@pytest.mark.parametrize("name", FOLDERS)
def test_the_text_part_of_a_multimodal_folder_is_the_text_model(
    name: str, prefix: str, tmp_path: Path
) -> None:
    folder = copied(name, tmp_path)
    as_part_of_a_multimodal_model(folder, prefix)
    alone, part = open_checkpoint(PARITY / name), open_checkpoint(folder)
    assert part.spec == alone.spec
    for tensor in tensor_shapes(alone.spec):
        np.testing.assert_array_equal(part.tensor(tensor), alone.tensor(tensor))


def test_norms_of_gemma_4_are_kept_as_the_scale_itself() -> None:
    stored = load_file(PARITY / "gemma4" / WEIGHTS)
    checkpoint = open_checkpoint(PARITY / "gemma4")
    np.testing.assert_array_equal(checkpoint.tensor("final_norm"), stored["model.norm.weight"])


def test_keys_of_layers_that_share_are_neither_needed_nor_minded(tmp_path: Path) -> None:
    folder = copied("gemma4-inputs", tmp_path)
    tensors = load_file(folder / WEIGHTS)
    spec = open_checkpoint(folder).spec
    sharing = next(i for i, layer in enumerate(spec.layers) if layer.kv_source is not None)
    place = f"model.layers.{sharing}.self_attn."
    assert place + "k_proj.weight" not in tensors
    for unused in ("k_proj", "v_proj", "k_norm"):
        tensors[f"{place}{unused}.weight"] = np.zeros((8, 24), np.float32)
    save_file(tensors, folder / WEIGHTS)
    assert open_checkpoint(folder).spec == spec


def test_keys_of_a_layer_with_its_own_are_needed(tmp_path: Path) -> None:
    folder = copied("gemma4-inputs", tmp_path)
    tensors = load_file(folder / WEIGHTS)
    del tensors["model.layers.0.self_attn.k_proj.weight"]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(DamagedCheckpoint, match=r"layers\.0\.self_attn\.k_proj.*missing"):
        open_checkpoint(folder)


def test_values_beside_keys_that_are_values_have_no_place(tmp_path: Path) -> None:
    folder = copied("gemma4", tmp_path)
    tensors = load_file(folder / WEIGHTS)
    tensors["model.layers.5.self_attn.v_proj.weight"] = np.zeros((16, 24), np.float32)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(UnsupportedModel, match=r"v_proj.*no place in a gemma4 decoder"):
        open_checkpoint(folder)
