"""`pollux worker`: an engine that takes its work from a broker."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import fail, settings_from


def worker(
    redis: Annotated[str | None, typer.Option(help="Redis or Valkey URL.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Catalogue name, GGUF file, folder or hf:owner/name.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, bfloat16 or float32.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="Paths that decode together.")] = None,
    context: Annotated[
        int | None, typer.Option(help="Longest prompt plus answer, in tokens.")
    ] = None,
    kv_memory: Annotated[
        str | None, typer.Option(help="Device memory for KV pages, such as 2GiB.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for models and compiled programs.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run a model for gateways that were started with the same --redis."""
    import logging

    from model.broker import run_worker
    from model.link import BadBrokerURL
    from service.commands.checkpoint import engine_config, one_line_errors, open_model

    settings = settings_from(
        redis=redis,
        model=model,
        dtype=dtype,
        max_rows=max_rows,
        context=context,
        kv_memory=kv_memory,
        cache=cache,
        log_level=log_level,
    )
    if settings.redis is None:
        fail("a worker needs a broker: give --redis redis://host:6379", 2)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(message)s")
    checkpoint, name = open_model(settings)
    config = engine_config(settings)
    try:
        with one_line_errors():
            status = run_worker(
                settings.redis, checkpoint, name, config, drain_s=settings.shutdown_grace
            )
    except BadBrokerURL as error:
        fail(error)
    raise typer.Exit(status)
