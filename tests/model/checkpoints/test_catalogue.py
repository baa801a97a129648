"""Which names there are and what may stand in their place."""

import re
import shutil
from pathlib import Path

import pytest

from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import CATALOGUE, DEFAULT_MODEL, resolve
from model.checkpoints.errors import UnknownModel
from tests.model.checkpoints.tiny import PARITY, tiny_gguf


def test_the_default_is_in_the_catalogue() -> None:
    assert DEFAULT_MODEL in CATALOGUE
    assert {"smollm2-135m-instruct", "gemma-3-270m"} <= CATALOGUE.keys()


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_entry_says_what_to_fetch_and_what_it_must_be(name: str) -> None:
    entry = CATALOGUE[name]
    assert entry.name == name
    assert re.fullmatch(r"[a-z0-9.-]+", name)
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.filename.endswith(".gguf")
    assert entry.description
    assert entry.licence
    # Weights barely compress: a slip in a size would show.
    assert 0.8 * entry.size < entry.download < entry.size
    assert len({part.member for part in entry.parts}) == len(entry.parts)


def test_a_gguf_file_is_served_under_its_name(tmp_path: Path) -> None:
    path = tiny_gguf("llama").write(tmp_path / "My model (v2).Q4.gguf")
    found = resolve(str(path))
    assert (found.name, found.path) == ("My-model-v2-.Q4", path)
    assert open_checkpoint(found.path).spec.family == "llama"


def test_a_folder_is_served_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PARITY / "qwen2", tmp_path / "tiny-qwen")
    assert resolve(f"{tmp_path}/tiny-qwen/").name == "tiny-qwen"
    monkeypatch.chdir(tmp_path / "tiny-qwen")
    found = resolve(".")
    assert found.name == "tiny-qwen"
    assert open_checkpoint(found.path).spec.family == "qwen2"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tiny_gguf("llama").write(tmp_path / "tiny.gguf")
    assert resolve("~/tiny.gguf").path == path


@pytest.mark.parametrize(
    "name", ["", "smollm", "no/such.gguf", "x" * 5000, "~nobody-here/x.gguf", "a\0b", "line\nbreak"]
)
def test_an_unknown_name_lists_what_there_is(name: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        resolve(name)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert "smollm2-135m-instruct (98 MB), gemma-3-270m (253 MB)" in message
    assert "hf:owner/name" in message


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:a/b/c", "hf:a/b:file.bin", "hf:../b@"])
def test_a_malformed_hub_reference_says_its_form(name: str) -> None:
    with pytest.raises(UnknownModel, match="hf:owner/name"):
        resolve(name)
