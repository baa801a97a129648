"""From a model's name to an open checkpoint and the engine's settings; failures are one line."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from model.checkpoints.base import Checkpoint, DamagedCheckpoint
from model.checkpoints.errors import FetchFailed, UnknownModel
from model.engine.config import EngineConfig
from model.spec import UnsupportedModel
from model.text.templates import TemplateError
from model.text.tokenizer import DamagedTokenizer
from service.commands.console import MISUSED, fail
from service.settings import Settings


def open_model(settings: Settings) -> tuple[Checkpoint, str]:
    """The checkpoint and the name it is served as. Fetches what is not here yet."""
    from model.checkpoints import open_checkpoint
    from model.checkpoints.catalogue import resolve
    from model.checkpoints.progress import console_progress

    _quiet_jax(settings)
    if settings.cache is not None:
        os.environ["POLLUX_CACHE"] = str(settings.cache)
    with one_line_errors(), console_progress() as progress:
        resolved = resolve(settings.model, progress=progress)
        return open_checkpoint(resolved.path), resolved.name


def _quiet_jax(settings: Settings) -> None:
    """At level info JAX reports every kind of device that is not there."""
    if settings.log_level != "debug":
        logging.getLogger("jax").setLevel(logging.WARNING)


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
