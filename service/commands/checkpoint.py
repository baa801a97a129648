"""From a model's name to an open checkpoint and the engine's settings; failures are one line."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from model.checkpoints.base import Checkpoint, DamagedCheckpoint
from model.checkpoints.errors import FetchFailed, UnknownModel
from model.engine.config import EngineConfig
from model.spec import UnsupportedModel
from model.text.templates import TemplateError
from model.text.tokenizer import DamagedTokenizer
from service.commands.console import MISUSED, fail, say
from service.settings import Settings


def open_model(settings: Settings) -> tuple[Checkpoint, str]:
    """The checkpoint and the name it is served as. Fetches what is not here yet."""
    from model.checkpoints import open_checkpoint
    from model.checkpoints.catalogue import resolve
    from model.checkpoints.progress import console_progress

    _quiet_jax(settings)
    skip_absent_tpu()
    lines = say if settings.log_format == "json" else None
    if settings.cache is not None:
        os.environ["POLLUX_CACHE"] = str(settings.cache)
    with one_line_errors(), console_progress(lines) as progress:
        resolved = resolve(settings.model, progress=progress)
        return open_checkpoint(resolved.path), resolved.name


def _quiet_jax(settings: Settings) -> None:
    """At level info JAX reports every kind of device that is not there, and XLA follows it with
    lines of its own, past Python and never JSON."""
    detailed = settings.log_level == "debug" and settings.log_format == "text"
    logging.getLogger("jax").setLevel(logging.INFO if detailed else logging.WARNING)


def skip_absent_tpu(devices: Path = Path("/dev")) -> None:
    """libtpu, which is also installed to compile for TPUs elsewhere, makes JAX look for one, with
    warnings where there is none. Before jax is imported; what the environment says stands."""
    if "JAX_PLATFORMS" in os.environ or find_spec("libtpu") is None:
        return
    present = any(devices.glob("accel*")) or any(devices.glob("vfio/[0-9]*"))
    # A plugin means another accelerator, which JAX is to find by itself.
    if not present and find_spec("jax_plugins") is None:
        os.environ["JAX_PLATFORMS"] = "cpu"


def engine_config(settings: Settings) -> EngineConfig:
    from model.checkpoints.fetch import cache_folder

    with one_line_errors():
        return EngineConfig(
            dtype=settings.dtype,
            max_rows=settings.max_rows,
            context=settings.context,
            kv_bytes=settings.kv_memory,
            tensor_parallel=settings.tensor_parallel,
            prefill_chunk=settings.prefill_chunk,
            busy_chunk=settings.busy_chunk,
            prefix_cache=settings.prefix_cache,
            held_share=settings.held_share,
            media_cache_bytes=settings.media_cache,
            compilation_cache=cache_folder() / "compiled",
            kernels=settings.kernels,
            kernel_cache=cache_folder() / "kernels",
            weights=settings.weights,
            kv=settings.kv,
        )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What is wrong with a model ends the command, before anything listens."""
    try:
        yield
    except UnknownModel as error:
        fail(error, MISUSED)
    except (
        FetchFailed,
        DamagedCheckpoint,
        UnsupportedModel,
        DamagedTokenizer,
        TemplateError,
        OSError,
        ValueError,
    ) as error:
        fail(error)
