"""`pollux models`: what can be served by name."""

from rich.console import Console
from rich.table import Table


def models() -> None:
    """List the models that Pollux knows by name."""
    from model.checkpoints.catalogue import CATALOGUE, DEFAULT_MODEL
    from model.checkpoints.fetch import cached
    from model.checkpoints.progress import megabytes

    table = Table(box=None, pad_edge=False)
    for column in ("Name", "Size", "Here", "Licence", "What it is"):
        table.add_column(column, no_wrap=column in ("Name", "Size"))
    for entry in CATALOGUE.values():
        default = " (default)" if entry.name == DEFAULT_MODEL else ""
        table.add_row(
            entry.name,
            megabytes(entry.size),
            "yes" if cached(entry) else "no",
            entry.licence,
            entry.description + default,
        )
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    console.print(
        "Also: a path to a .gguf file or to a Hugging Face folder, or hf:owner/name.",
        highlight=False,
    )
