"""Flags that `pollux serve` and `pollux worker` share: what an engine is started with."""

from pathlib import Path
from typing import Annotated

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
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]
