"""Flags of every command that starts an engine, declared once and put on each by a decorator."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str | None, typer.Option(help="Catalogue name, GGUF file, folder or hf:owner/name.")
]
DType = Annotated[str | None, typer.Option(help="auto, bfloat16 or float32.")]
Kernels = Annotated[
    str | None, typer.Option(help="auto compiles CPU kernels with the machine's C++ compiler; off.")
]
Weights = Annotated[str | None, typer.Option(help="auto, native, int8 or int4.")]
Kv = Annotated[str | None, typer.Option(help="Keys and values: auto (in dtype) or int8.")]
MaxRows = Annotated[int | None, typer.Option(help="Paths that decode together.")]
Context = Annotated[int | None, typer.Option(help="Longest prompt plus answer, in tokens.")]
KvMemory = Annotated[str | None, typer.Option(help="Device memory for KV pages, such as 2GiB.")]
TensorParallel = Annotated[int | None, typer.Option(help="Devices that share each layer.")]
PrefixCache = Annotated[
    bool | None,
    typer.Option(
        "--prefix-cache/--no-prefix-cache", help="Reuse KV pages of requests that begin alike."
    ),
]
Cache = Annotated[Path | None, typer.Option(help="Folder for models and compiled programs.")]
LogFormat = Annotated[
    str | None, typer.Option(help="text, or json: one object on each line of standard error.")
]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]

ENGINE_FLAGS: dict[str, Any] = {
    "model": Model,
    "dtype": DType,
    "kernels": Kernels,
    "weights": Weights,
    "kv": Kv,
    "max_rows": MaxRows,
    "context": Context,
    "kv_memory": KvMemory,
    "tensor_parallel": TensorParallel,
    "prefix_cache": PrefixCache,
    "cache": Cache,
    "log_level": LogLevel,
}
"""By the name of the setting that each is for."""


def with_engine_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these flags behind its own; it gets them as its parameter `engine`, ready
    for `settings_from(**engine, ...)`."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "engine"]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in ENGINE_FLAGS.items()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        engine = {name: given.pop(name) for name in ENGINE_FLAGS}
        command(**given, engine=engine)

    model, *others = flags
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    parameters = [model, *named, *others]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
