"""The image encoder against transformers, live (`make parity`): other sizes, other weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.checkpoints.safetensors_files import WeightFiles
from model.checkpoints.spec_hf import spec_from_config
from model.checkpoints.vision_hf import vision_names, vision_shapes
from model.nn.vision.params import load_vision
from model.nn.vision.tower import soft_tokens

pytestmark = pytest.mark.parity


class Encoder:
    """As much of a checkpoint as the image encoder needs."""

    def __init__(self, folder, config) -> None:
        self.spec = spec_from_config(config)
        self._files = WeightFiles(folder)
        self._names = vision_names(self.spec, self._files.tensors)
        shapes = vision_shapes(self.spec)
        assert all(self._files.tensors[self._names[n]].shape == shapes[n] for n in shapes)

    def tensor(self, name):
        values = self._files.read(self._names[name])
        return 1 + values if name.endswith("_norm") else values


@pytest.mark.parametrize(
    ("image", "patch", "tokens", "width", "heads"),
    [(32, 4, 4, 48, 4), (28, 2, 49, 32, 2), (896, 14, 256, 32, 2)],
)
def test_soft_tokens_are_those_of_transformers(image, patch, tokens, width, heads, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.Gemma3Config(
        text_config={"hidden_size": 24, "num_hidden_layers": 1, "vocab_size": 64},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": 3,
            "num_attention_heads": heads,
            "image_size": image,
            "patch_size": patch,
            "vision_use_head": False,
        },
        mm_tokens_per_image=tokens,
        image_token_index=63,
        architectures=["Gemma3ForConditionalGeneration"],
        attn_implementation="eager",
    )
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(image)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        inputs = parameter[0].numel() if parameter.ndim > 1 else 4
        is_scale = "vision_tower" in name and "norm" in name and name.endswith("weight")
        parameter.data = noise / inputs**0.5 + (1.0 if is_scale else 0.0)
    model.save_pretrained(tmp_path)
    pixels = np.random.default_rng(image).uniform(-1, 1, (2, image, image, 3)).astype(np.float32)
    with torch.no_grad():
        given = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        wanted = model.get_image_features(given).pooler_output.numpy()

    encoder = Encoder(tmp_path, model.config.to_dict())
    params = load_vision(encoder, jnp.dtype(jnp.float32))
    with jax.default_matmul_precision("highest"):
        found = np.asarray(jax.jit(partial(soft_tokens, encoder.spec.vision))(params, pixels))
    relative = np.abs(found - wanted).max() / np.abs(wanted).max()
    print(f"{image} pixels: largest relative difference {relative:.1e}")
    assert relative <= 1e-4
