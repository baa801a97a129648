"""Models on disk: GGUF files and Hugging Face folders, behind one `Checkpoint`."""

from pathlib import Path

from model.checkpoints.base import Checkpoint, DamagedCheckpoint
from model.checkpoints.gguf import GgufCheckpoint
from model.checkpoints.safetensors import SafetensorsCheckpoint
from model.spec import UnsupportedModel

__all__ = ["Checkpoint", "DamagedCheckpoint", "UnsupportedModel", "open_checkpoint"]


def open_checkpoint(path: Path) -> Checkpoint:
    """A GGUF file, or a folder with config.json, safetensors and tokenizer files.

    Reads headers and no weights. Raises DamagedCheckpoint when it is incomplete or inconsistent,
    UnsupportedModel when it asks for what Pollux does not do: one line each.
    """
    return SafetensorsCheckpoint(path) if path.is_dir() else GgufCheckpoint(path)
