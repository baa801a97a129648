"""Tiny tokenizers of three kinds, each read from every file format that can hold it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from model.text.assets import TextAssets
from model.text.gguf_assets import assets_from_gguf
from model.text.hf_assets import assets_from_folder
from model.text.language import TextModel

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "text"
SOURCES = (
    "bpe-gguf",
    "bpe-json",
    "gemma-gguf",
    "gemma-json",
    "gemma-model",
    "llama2-gguf",
    "llama2-json",
    "llama2-model",
)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def gguf_fields(family: str) -> dict[str, Any]:
    return read_json(FIXTURES / family / "gguf.json")


def expected(source: str) -> dict[str, Any]:
    return read_json(FIXTURES / source.split("-")[0] / "expected.json")


def assets_of(source: str, scratch: Path) -> TextAssets:
    family, form = source.split("-")
    if form == "gguf":
        return assets_from_gguf(gguf_fields(family))
    if form == "json":
        return assets_from_folder(FIXTURES / family)
    shutil.copytree(FIXTURES / family, scratch / source)
    (scratch / source / "tokenizer.json").unlink()
    return assets_from_folder(scratch / source)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextModel]:
    scratch = tmp_path_factory.mktemp("text")
    return {source: TextModel(assets_of(source, scratch)) for source in SOURCES}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(source: str, models: dict[str, TextModel]) -> TextModel:
    return models[source]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Hugging Face folder that a test may change."""
    return Path(shutil.copytree(FIXTURES / "bpe", tmp_path / "model"))
