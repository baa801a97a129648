"""Hugging Face folders, whole and spoiled. The whole ones are what transformers saved."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from model.checkpoints import Checkpoint, DamagedCheckpoint, UnsupportedModel, open_checkpoint
from model.checkpoints.names import tensor_shapes
from tests.model.checkpoints.tiny import PARITY, is_one_line

GEMMA4 = ["gemma4", "gemma4-inputs", "gemma4-experts"]
FOLDERS = ["llama", "llama-scaled", "qwen2", "gemma3", *GEMMA4]
WEIGHTS = "model.safetensors"


def copied(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(PARITY / name, tmp_path / name))


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(
    folder: Path, change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]
) -> None:
    tensors = change(load_file(folder / WEIGHTS))
    save_file(dict(tensors), folder / WEIGHTS)


def all_tensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    return {name: checkpoint.tensor(name) for name in tensor_shapes(checkpoint.spec)}


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


@pytest.mark.parametrize("name", FOLDERS)
def test_what_transformers_saved_is_read_whole(name: str) -> None:
    checkpoint = open_checkpoint(PARITY / name)
    stored = load_file(PARITY / name / WEIGHTS)

    values = all_tensors(checkpoint)

    assert len(values) == len(stored)
    assert all(
        values[name].shape == shape for name, shape in tensor_shapes(checkpoint.spec).items()
    )
    assert checkpoint.quantization == "F32"
    assert checkpoint.text.vocab_size == 300
    checkpoint.close()


def test_norms_of_gemma_are_the_effective_scale() -> None:
    checkpoint = open_checkpoint(PARITY / "gemma3")
    stored = load_file(PARITY / "gemma3" / WEIGHTS)
    places = {
        "final_norm": "model.norm.weight",
        "layers.3.attn_norm": "model.layers.3.input_layernorm.weight",
        "layers.3.post_attn_norm": "model.layers.3.post_attention_layernorm.weight",
        "layers.3.mlp_norm": "model.layers.3.pre_feedforward_layernorm.weight",
        "layers.3.post_mlp_norm": "model.layers.3.post_feedforward_layernorm.weight",
        "layers.3.q_norm": "model.layers.3.self_attn.q_norm.weight",
        "layers.3.k_norm": "model.layers.3.self_attn.k_norm.weight",
    }
    for name, place in places.items():
        np.testing.assert_array_equal(checkpoint.tensor(name), 1 + stored[place])


def test_norms_of_llama_are_as_stored() -> None:
    checkpoint = open_checkpoint(PARITY / "llama")
    stored = load_file(PARITY / "llama" / WEIGHTS)
    np.testing.assert_array_equal(checkpoint.tensor("final_norm"), stored["model.norm.weight"])
    np.testing.assert_array_equal(
        checkpoint.tensor("layers.1.mlp_norm"),
        stored["model.layers.1.post_attention_layernorm.weight"],
    )


@pytest.mark.parametrize(
    ("dtype", "name"), [(ml_dtypes.bfloat16, "BF16"), (np.float16, "F16"), (np.float32, "F32")]
)
def test_weights_stay_in_the_type_they_are_kept_in(dtype: Any, name: str, tmp_path: Path) -> None:
    folder = copied("gemma3", tmp_path)
    stored = load_file(folder / WEIGHTS)
    change_weights(folder, lambda old: {key: value.astype(dtype) for key, value in old.items()})

    checkpoint = open_checkpoint(folder)

    assert checkpoint.quantization == name
    assert checkpoint.tensor("layers.0.q").dtype == dtype
    # 1 + w needs more bits than bfloat16 has.
    norm = checkpoint.tensor("final_norm")
    assert norm.dtype == np.float32
    expected = 1 + stored["model.norm.weight"].astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(norm, expected)


def sharded(folder: Path) -> dict[str, str]:
    """Splits the folder's weights in two files with an index; the index's map."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    files = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    places = {name: file for file, part in files.items() for name in part}
    write_index(folder, places)
    return places


def write_index(folder: Path, weight_map: Any) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


def test_shards_are_one_model(tmp_path: Path) -> None:
    folder = copied("qwen2", tmp_path)
    sharded(folder)
    split = open_checkpoint(folder)
    assert same(all_tensors(split), all_tensors(open_checkpoint(PARITY / "qwen2")))


@pytest.mark.parametrize(
    ("prefix", "head"),
    [("language_model.model.", "language_model.lm_head."), ("model.language_model.", "lm_head.")],
)
@pytest.mark.parametrize("tied", [True, False])
def test_the_text_part_of_a_multimodal_model_is_found(
    prefix: str, head: str, tied: bool, tmp_path: Path
) -> None:
    folder = copied("gemma3", tmp_path)

    def wrap(old: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        new = {name.replace("model.", prefix, 1): value for name, value in old.items()}
        new["vision_tower.embeddings.weight"] = np.zeros((2, 2), np.float32)
        if not tied:
            new[f"{head}weight"] = np.ones((300, 40), np.float32)
        return new

    change_weights(folder, wrap)
    text_config = json.loads((folder / "config.json").read_text())
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text_config}
    if not tied:
        outer["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(outer))

    checkpoint = open_checkpoint(folder)

    assert checkpoint.spec.tied_head == tied
    values = all_tensors(checkpoint)
    if not tied:
        assert np.all(values.pop("head") == 1)
    assert same(values, all_tensors(open_checkpoint(PARITY / "gemma3")))


def test_leftovers_of_old_exports_are_ignored(tmp_path: Path) -> None:
    folder = copied("qwen2", tmp_path)
    rest = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(4, np.float32),
        "lm_head.weight": np.zeros((300, 48), np.float32),  # tied all the same
    }
    change_weights(folder, lambda old: old | rest)
    assert open_checkpoint(folder).spec.tied_head


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def weights(change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]) -> Any:
    return lambda folder: change_weights(folder, change)


def cut(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-10])


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def written(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def lost_shard(folder: Path) -> None:
    sharded(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def indexed(weight_map: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        write_index(folder, weight_map)

    return change


def doubled(folder: Path) -> None:
    places = sharded(folder)
    one, other = sorted(set(places.values()))
    shutil.copy(folder / one, folder / other)


def change_tokenizer(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / "tokenizer.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def odd_control_token(folder: Path) -> None:
    change_tokenizer(folder, lambda old: old["added_tokens"][0].update(content=1.5))


def huge_odd_tokenizer(folder: Path) -> None:
    """An error that quotes the file must not be as long as it."""
    change_tokenizer(folder, lambda old: old["model"].update(merges="\ud800" * 5000))


NORM, QUERY = "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (without("config.json"), DamagedCheckpoint, "config.json is missing"),
        (without(WEIGHTS), DamagedCheckpoint, "neither model.safetensors nor"),
        (pickled, UnsupportedModel, "pickle"),
        (cut, DamagedCheckpoint, "model.safetensors: .*not fully covered"),
        (written(WEIGHTS, b""), DamagedCheckpoint, "header too small"),
        (written("config.json", b"{"), DamagedCheckpoint, "config.json is not JSON"),
        (written("config.json", b"\xff\xfe\x00"), DamagedCheckpoint, "config.json is not JSON"),
        (written("config.json", b"[" * 100_000), DamagedCheckpoint, "config.json is not JSON"),
        (written("config.json", b"[]"), DamagedCheckpoint, "config.json holds no object"),
        (written("config.json", b" " * 2**21), DamagedCheckpoint, "more than 1048576"),
        (
            weights(lambda old: {key: old[key] for key in old.keys() - {NORM}}),
            DamagedCheckpoint,
            f"'{NORM}' is missing",
        ),
        (
            weights(lambda old: {"decoder.weight": old[NORM]}),
            DamagedCheckpoint,
            "'model.embed_tokens.weight' is missing",
        ),
        (
            weights(lambda old: old | {QUERY: old[QUERY].T.copy()[:, :5].copy()}),
            DamagedCheckpoint,
            r"q_proj.weight' has the shape \(48, 5\), not \(64, 48\)",
        ),
        (
            weights(lambda old: old | {NORM: old[NORM].astype(np.float64)}),
            UnsupportedModel,
            f"'{NORM}' has the type F64",
        ),
        (
            weights(lambda old: old | {"model.layers.0.mlp.router.weight": old[NORM]}),
            UnsupportedModel,
            "router.weight' has no place in a llama decoder",
        ),
        (lost_shard, DamagedCheckpoint, "'model-00002-of-00002.safetensors' is missing"),
        (doubled, DamagedCheckpoint, "is in two files"),
        (indexed({NORM: "../../etc/model.safetensors"}), DamagedCheckpoint, "as a weight file"),
        (indexed({NORM: 3}), DamagedCheckpoint, "names 3 as a weight file"),
        (indexed({NORM: []}), DamagedCheckpoint, "as a weight file"),
        (indexed([]), DamagedCheckpoint, "no weight_map"),
        (without("tokenizer.json"), DamagedCheckpoint, "token"),
        (odd_control_token, DamagedCheckpoint, "damaged tokenizer: Expected `str`, got `float`"),
        (huge_odd_tokenizer, DamagedCheckpoint, "damaged tokenizer"),
    ],
)
def test_each_thing_that_may_be_wrong_has_its_line(
    spoil: Callable[[Path], None], error: type[Exception], message: str, tmp_path: Path
) -> None:
    folder = copied("llama", tmp_path)
    spoil(folder)
    with pytest.raises(error, match=message) as caught:
        open_checkpoint(folder)
    assert is_one_line(caught.value)


@pytest.fixture(scope="module")
def spoilable(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    folder = copied("llama-scaled", tmp_path_factory.mktemp("fuzz"))
    return (folder / WEIGHTS).read_bytes(), folder


def opened_or_refused(folder: Path) -> Checkpoint | None:
    try:
        return open_checkpoint(folder)
    except (DamagedCheckpoint, UnsupportedModel) as error:
        if not is_one_line(error):
            raise
        return None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_spoiled_header_is_damaged_or_unsupported_or_harmless(
    spoilable: tuple[bytes, Path], data: st.DataObject
) -> None:
    whole, folder = spoilable
    spoiled = bytearray(whole)
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, end - 1))
        junk = data.draw(st.binary(min_size=1, max_size=3) | st.sampled_from([b'"', b"9", b"{"]))
        spoiled[at : at + len(junk)] = junk
    if data.draw(st.booleans()):
        del spoiled[data.draw(st.integers(0, len(spoiled))) :]
    (folder / WEIGHTS).write_bytes(spoiled)

    checkpoint = opened_or_refused(folder)
    if checkpoint is not None:
        all_tensors(checkpoint)
        checkpoint.close()
