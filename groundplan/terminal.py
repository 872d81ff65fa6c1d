"""Output of commands: coloured and fitted to the width on a terminal, plain lines where output is piped."""

from __future__ import annotations

import sys
from typing import IO, Any

from rich.console import Console
from rich.table import Table

WIDE = 100_000  # a pipe has no width to wrap at or fill


class _Plain:
    """Standard output without the blanks that a table pads its lines with."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._rest = file, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        self._file.write("".join(f"{line.rstrip()}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        if self._rest.strip():
            self._file.write(self._rest.rstrip())
        self._rest = ""
        self._file.flush()

    def isatty(self) -> bool:
        return False


def console(*, markup: bool = True) -> Console:
    """A console that neither colours, wraps nor pads where output is piped.

    Args:
        markup: Whether ``[bold]`` and the like mean something. Where users' own texts are printed they must not, or a
            list in a line of code is taken for a colour.
    """
    if sys.stdout.isatty():
        return Console(highlight=False, soft_wrap=True, markup=markup)
    plain: Any = _Plain(sys.stdout)
    return Console(file=plain, highlight=False, soft_wrap=True, width=WIDE, markup=markup)


def table(*columns: str, title: str = "") -> Table:
    """A table without lines, as every command prints it; without a header where no column has a title."""
    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=any(columns),
    )
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
