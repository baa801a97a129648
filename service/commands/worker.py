"""`pollux worker`: an engine that takes its work from a broker."""

from typing import Annotated

import typer

from service.commands import options
from service.commands.console import fail, settings_from


def worker(
    redis: Annotated[str | None, typer.Option(help="Redis or Valkey URL.")] = None,
    model: options.Model = None,
    dtype: options.DType = None,
    kernels: options.Kernels = None,
    weights: options.Weights = None,
    kv: options.Kv = None,
    max_rows: options.MaxRows = None,
    context: options.Context = None,
    kv_memory: options.KvMemory = None,
    tensor_parallel: options.TensorParallel = None,
    prefix_cache: options.PrefixCache = None,
    cache: options.Cache = None,
    log_level: options.LogLevel = None,
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
        kernels=kernels,
        weights=weights,
        kv=kv,
        max_rows=max_rows,
        context=context,
        kv_memory=kv_memory,
        tensor_parallel=tensor_parallel,
        prefix_cache=prefix_cache,
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
