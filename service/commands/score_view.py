"""The scores of arms as a table."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from routing.calibration.scores import Score


def show_scores(scores: list[Score], title: str, folder: Path) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 120
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    for column in ("arm", "right", "95 % interval", "no answer", "tokens", "seconds"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for found in scores:
        table.add_row(
            found.arm,
            f"{found.accuracy:.1%}",
            f"{found.low:.1%} to {found.high:.1%}",
            f"{found.invalid:.1%}",
            f"{found.tokens:,.0f}",
            "" if found.seconds is None else f"{found.seconds:.2f}",
        )
    console.print(table)
    questions = scores[0].questions
    console.print(
        f"{questions} questions; tokens and seconds are per question, seconds with the machine as "
        f"busy as it was. All answers are in {folder}.",
        style="dim",
        highlight=False,
    )
