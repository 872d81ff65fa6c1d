"""Progress of a long command, as its user sees it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import typer


@contextmanager
def progress() -> Iterator[Any]:
    """Lines for what is done, and a spinner on a terminal; plain lines where output is piped. On SIGTERM the
    command cleans up as after Ctrl-C.
    """
    from groundplan import terminal
    from groundplan.local.up import Talk

    console = terminal.console()
    status = console.status("working; Ctrl-C stops everything") if console.is_terminal else None

    class ToConsole(Talk):
        def __call__(self, line: str) -> None:
            text = f"[green]done[/green] {line.replace('[', chr(92) + '[')}" if console.is_terminal else f"done {line}"
            console.print(text, markup=console.is_terminal)

        def progress(self, text: str) -> None:
            if status:
                status.update(f"{text.replace('[', chr(92) + '[')}; Ctrl-C stops everything")

    def interrupt(number: int, _: Any) -> None:
        print("interrupted; stopping what this command started", file=sys.stderr, flush=True)
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with status or nullcontext():
            yield ToConsole()
    except KeyboardInterrupt:
        print("interrupted; what this command started is stopped", file=sys.stderr)
        raise typer.Exit(130) from None
