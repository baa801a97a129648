"""Image encoders in Hugging Face folders: their specification, and every layout of their names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model.checkpoints import DamagedCheckpoint, UnsupportedModel, open_checkpoint
from model.checkpoints.names import tensor_shapes
from model.checkpoints.spec_hf import spec_from_config
from model.checkpoints.vision_hf import vision_shapes
from model.spec import VisionSpec
from tests.model.checkpoints.tiny import PARITY

FOLDER = PARITY / "gemma3-vision"
# Of a gemma-3-4b-it folder: what its config.json says, defaults left out as there.
GEMMA_3_4B = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "image_token_index": 262144,
    "mm_tokens_per_image": 256,
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 896,
        "intermediate_size": 4304,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
        "vision_use_head": False,
    },
}


def renamed(folder: Path, prefixes: dict[str, str]) -> Path:
    """The fixture with other prefixes of its tensors."""
    shutil.copytree(FOLDER, folder)
    tensors = {}
    for name, values in load_file(FOLDER / "model.safetensors").items():
        old = next(prefix for prefix in prefixes if name.startswith(prefix))
        tensors[prefixes[old] + name.removeprefix(old)] = values
    save_file(tensors, folder / "model.safetensors")
    return folder


LAYOUTS = {
    "hub": ("language_model.model.", "vision_tower.vision_model.", "multi_modal_projector."),
    "transformers 4": (
        "model.language_model.",
        "model.vision_tower.vision_model.",
        "model.multi_modal_projector.",
    ),
    "transformers 5": (
        "model.language_model.",
        "model.vision_tower.",
        "model.multi_modal_projector.",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_and_vision_are_read_from_every_layout(layout, tmp_path):
    text, tower, projector = LAYOUTS[layout]
    prefixes = {
        "language_model.model.": text,
        "vision_tower.": tower,
        "multi_modal_projector.": projector,
    }
    wanted, found = open_checkpoint(FOLDER), open_checkpoint(renamed(tmp_path / "m", prefixes))
    assert found.spec == wanted.spec
    for name in tensor_shapes(wanted.spec) | vision_shapes(wanted.spec):
        np.testing.assert_array_equal(found.tensor(name), wanted.tensor(name))


def test_the_sizes_of_gemma_3_4b_follow_from_its_configuration():
    spec = spec_from_config(GEMMA_3_4B)
    assert spec.vision == VisionSpec(
        image_size=896,
        patch_size=14,
        d_model=1152,
        d_ff=4304,
        layers=27,
        heads=16,
        tokens=256,
        placeholder=262144,
    )
    assert (spec.vision.side, spec.vision.pool) == (64, 4)
    assert vision_shapes(spec)["vision.projection"] == (1152, 2560)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vision_config": {"patch_size": 15}}, "do not make 256 soft tokens"),
        ({"mm_tokens_per_image": 255}, "do not make 255 soft tokens"),
        ({"mm_tokens_per_image": 0}, "mm_tokens_per_image is 0"),
        ({"vision_config": {"num_attention_heads": 7}}, "does not divide among 7 heads"),
        ({"vision_config": {"model_type": "clip"}}, "an image encoder of type 'clip'"),
        ({"vision_config": {"hidden_act": "relu"}}, "activation 'relu' in the image encoder"),
        ({"vision_config": {"num_channels": 1}}, "other than three channels"),
        ({"vision_config": {"image_size": 2**40}}, "image_size is"),
    ],
)
def test_sizes_that_make_no_sense_have_their_line(changes, says):
    config = json.loads(json.dumps(GEMMA_3_4B))
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    with pytest.raises((DamagedCheckpoint, UnsupportedModel), match=says):
        spec_from_config(config)


def test_a_missing_tensor_of_the_encoder_is_named(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "m")
    tensors = load_file(FOLDER / "model.safetensors")
    del tensors["vision_tower.post_layernorm.bias"]
    save_file(tensors, tmp_path / "m" / "model.safetensors")
    with pytest.raises(DamagedCheckpoint, match=r"'vision_tower.post_layernorm.bias' is missing"):
        open_checkpoint(tmp_path / "m")


def test_a_multimodal_model_without_an_image_encoder_takes_text_alone():
    config = {key: value for key, value in GEMMA_3_4B.items() if key != "vision_config"}
    assert spec_from_config(config).vision is None
