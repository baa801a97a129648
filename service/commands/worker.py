"""`pollux worker`: an engine that takes its work from a broker."""

from typing import Annotated, Any

import typer

from service.commands import options
from service.commands.console import fail, settings_from
from service.logs.setup import configure


@options.with_engine_flags
def worker(
    *,
    engine: dict[str, Any],
    redis: Annotated[str | None, typer.Option(help="Redis or Valkey URL.")] = None,
    log_format: options.LogFormat = None,
) -> None:
    """Run a model for gateways that were started with the same --redis."""
    from model.broker import run_worker
    from model.link import BadBrokerURL
    from service.commands.checkpoint import engine_config, one_line_errors, open_model

    settings = settings_from(
        **engine,
        redis=redis,
        log_format=log_format,
    )
    configure(settings)
    if settings.redis is None:
        fail("a worker needs a broker: give --redis redis://host:6379", 2)
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
