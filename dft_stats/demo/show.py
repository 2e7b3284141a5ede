"""What the demonstration prints: results on stdout, at once, also into a pipe."""

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dft_stats.demo.measured import Measured, rows
from dft_stats.output import safe
from dft_stats.report import PIPED_WIDTH

SHOWN = 2  # texts


def heading(text: str) -> None:
    """What comes now."""
    say(f"\n[bold]{escape(safe(text))}[/bold]")


def say(text: str) -> None:
    """A paragraph, with the markup of rich."""
    _print(text)


def show_measured(columns: Mapping[str, Measured]) -> None:
    """One column a measurement, one row a statistic and yardstick."""
    table = Table(
        title=f"{next(iter(columns.values())).words:,} words written; 1 is human writing; ± the standard error, from text to text",
        title_justify="left",
        title_style="bold",
    )
    for name in ("yardstick", "of"):
        table.add_column(name)
    for name in columns:
        table.add_column(name, justify="right")
    last = ""
    for yardstick, of, figures in rows(list(columns.values())):
        if last and yardstick != last:
            table.add_section()
        table.add_row("" if yardstick == last else yardstick, of, *map(str, figures))
        last = yardstick
    _print(table)


def show_samples(measured: Measured, when: str) -> None:
    """The first texts."""
    for number, text in enumerate(measured.texts[:SHOWN], 1):
        lines = "\n".join(f"  {safe(line)}" for line in text.split("\n"))  # a model wrote it
        say(f"[bold]Sample {number}, {escape(when)}[/bold]\n{escape(lines)}")


def _print(what: str | Table) -> None:
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)).print(what)
    sys.stdout.flush()
