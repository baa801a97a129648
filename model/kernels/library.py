"""The compiled kernels, loaded into this process and known to XLA by name."""

import ctypes
import logging
import threading
from functools import cache
from pathlib import Path

import jax
import platformdirs

from model.kernels.build import CannotBuild, build

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_HANDLERS = ("pollux_attention", "pollux_linear", "pollux_embed")


def load_kernels(folder: Path | None = None) -> ctypes.CDLL | None:
    """Builds (at first use), loads and registers the kernels; None where that cannot be.

    folder: where libraries are kept; None is the user's cache folder. Whatever stands in the way
    is logged in one line, once: the engine runs without.
    """
    with _lock:
        return _load(folder or Path(platformdirs.user_cache_dir("pollux")) / "kernels")


@cache
def _load(folder: Path) -> ctypes.CDLL | None:
    if jax.default_backend() != "cpu":
        return None
    try:
        library = ctypes.CDLL(str(build(folder)))
    except (CannotBuild, OSError) as error:
        _log.warning("CPU kernels are off, plain JAX is used: %s", error)
        return None
    for name in _HANDLERS:
        handler = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    library.pollux_pack.argtypes = (
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    )
    library.pollux_pack.restype = ctypes.c_float
    return library
