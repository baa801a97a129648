"""The weight files of a Hugging Face folder: one, or shards with an index."""

import contextlib
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.fingerprint import fingerprint
from model.checkpoints.limits import MAX_TENSORS
from model.checkpoints.values import short
from model.spec import UnsupportedModel

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_MAX_JSON_BYTES = 64 * 2**20
_MAX_SHARDS = 4096


@dataclass(frozen=True)
class StoredTensor:
    """shape as in PyTorch; dtype in the format's words ("BF16")."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


class WeightFiles:
    """The tensors of all files of a folder by name. Opening reads headers only."""

    def __init__(self, folder: Path) -> None:
        self.tensors: dict[str, StoredTensor] = {}
        self._open: dict[Path, Any] = {}
        for path in _weight_paths(folder):
            self._add(path)

    def read(self, name: str) -> np.ndarray:
        """A copy, in the type that the file keeps it in."""
        file = self._open[self.tensors[name].file]
        return np.asarray(file.get_tensor(name))

    def fingerprint(self) -> str:
        with contextlib.ExitStack() as stack:
            views = [stack.enter_context(_viewed(path)) for path in self._open]
            return fingerprint((view, 8 + int.from_bytes(view[:8], "little")) for view in views)

    def close(self) -> None:
        self._open.clear()

    def _add(self, path: Path) -> None:
        file = _opened(path)
        self._open[path] = file
        names = file.keys()
        if len(self.tensors) + len(names) > MAX_TENSORS:
            raise DamagedCheckpoint(f"more than {MAX_TENSORS} tensors")
        for name in names:
            if name in self.tensors:
                raise DamagedCheckpoint(f"tensor {short(name)} is in two files")
            part = file.get_slice(name)
            self.tensors[name] = StoredTensor(path, tuple(part.get_shape()), part.get_dtype())


def read_json(path: Path, limit: int = _MAX_JSON_BYTES) -> Mapping[str, Any]:
    """An object from a file that nobody vouches for. Raises DamagedCheckpoint."""
    data = _read_bounded(path, limit)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedCheckpoint(f"{path.name} is not JSON") from None
    if not isinstance(value, dict):
        raise DamagedCheckpoint(f"{path.name} holds no object")
    return value


def _read_bounded(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{path.name} is missing in {path.parent}") from None
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise DamagedCheckpoint(f"{path.name} has more than {limit} bytes")
    return data


def _weight_paths(folder: Path) -> list[Path]:
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
            raise UnsupportedModel("weights in pickle files (safetensors ones are read)")
        raise DamagedCheckpoint(f"neither {_SINGLE} nor {_INDEX} is in {folder}")
    shards = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise DamagedCheckpoint(f"{_INDEX} has no weight_map")
    for name in shards.values():
        # A name from the file must not lead out of the folder.
        if not isinstance(name, str) or not name.endswith(".safetensors") or set(name) & set("/\\"):
            raise DamagedCheckpoint(f"{_INDEX} names {short(name)} as a weight file")
    names = list(dict.fromkeys(shards.values()))
    if len(names) > _MAX_SHARDS:
        raise DamagedCheckpoint(f"{_INDEX} names {len(names)} files")
    for name in names:
        if not (folder / name).is_file():
            raise DamagedCheckpoint(f"weight file {short(name)} is missing in {folder}")
    return [folder / name for name in names]


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="np")
    except SafetensorError as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedCheckpoint(f"{path.name}: {reason}") from None
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: {error.strerror or error}") from None


@contextlib.contextmanager
def _viewed(path: Path) -> Iterator[memoryview]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        yield view
