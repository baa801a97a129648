"""The compiled kernels, loaded into this process and known to XLA by name."""

import ctypes
import logging
import threading
from pathlib import Path

import jax
import platformdirs

from model.kernels.build import CannotBuild, build

_log = logging.getLogger(__name__)
_HANDLERS = ("pollux_attention", "pollux_linear", "pollux_embed", "pollux_draw")


def load_kernels(folder: Path | None = None) -> ctypes.CDLL | None:
    """Builds (at first use), loads and registers the kernels; None where that cannot be.

    folder: where libraries are kept; None is the user's cache folder. Whatever stands in the way
    is logged in one line, once a folder: the engine runs without. What is once loaded stays.
    """
    if jax.default_backend() != "cpu":
        return None
    return _process.load(folder or Path(platformdirs.user_cache_dir("pollux")) / "kernels")


class _Process:
    """What this process has loaded. XLA takes a name once, so one library serves every caller."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library: ctypes.CDLL | None = None
        self._failed: set[Path] = set()

    def load(self, folder: Path) -> ctypes.CDLL | None:
        with self._lock:
            if self._library is None and folder not in self._failed:
                try:
                    self._library = _registered(build(folder))
                except (CannotBuild, OSError) as error:
                    self._failed.add(folder)
                    _log.warning("CPU kernels are off, plain JAX is used: %s", error)
            return self._library


def _registered(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name in _HANDLERS:
        handler = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    for pack in (library.pollux_pack_eight, library.pollux_pack_four):
        pack.argtypes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
        pack.restype = ctypes.c_float
    library.pollux_keep_memory()
    return library


_process = _Process()
