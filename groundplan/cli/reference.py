"""The command line as a page: ``python -m groundplan.cli.reference > docs/commands.md``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

_HEAD = """# Commands
Made by `make docs` from the command line. Exit codes: 0 good, 1 findings or failure, 2 wrong use.
`--json` prints what a program would read.
"""


def page() -> str:
    """The page, in Markdown, a section a command."""
    import typer.main

    from groundplan.cli.app import app

    group: Any = typer.main.get_command(app)
    parts, panel = [_HEAD], ""
    for name, command in group.commands.items():
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            parts.append(f"\n## {panel}\n")
        parts.extend(_of(f"groundplan {name}", command))
    return "".join(parts)


def _of(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for below, other in command.commands.items():
            yield from _of(f"{name} {below}", other)
        return
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option" and item.name != "help"]
    last = [_value(item) for item in arguments if _value(item).startswith("[--")]
    usage = " ".join(
        [
            name,
            *(_value(item) for item in arguments if _value(item) not in last),
            *(f"{item.opts[0]} {_value(item)}" for item in options if item.required),
        ]
    )
    more = " [OPTIONS]" if any(not item.required for item in options) else ""
    yield f"\n### {name}\n```\n{' '.join([usage + more, *last])}\n```\n{_prose(command.help)}\n"
    if rows := [*map(_argument, arguments), *map(_option, options)]:
        yield "\n| | | default |\n|---|---|---|\n" + "".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows
        )


def _value(item: Any) -> str:
    """What stands for an argument's or option's value."""
    shown = str(item.metavar or item.name.upper())
    return shown if item.required or item.param_type_name == "option" or shown.startswith("[") else f"[{shown}]"


def _argument(item: Any) -> tuple[str, str, str]:
    return f"`{_value(item)}`", item.help or "", ""


def _option(item: Any) -> tuple[str, str, str]:
    value = "" if item.is_flag else f" {_value(item)}"
    default = (
        "needed" if item.required else "" if item.is_flag or item.default in (None, "", ()) else f"`{item.default}`"
    )
    return f"`{', '.join(item.opts)}{value}`", item.help or "", default


def _prose(text: str | None) -> str:
    """A docstring as one paragraph a block."""
    return "\n\n".join(re.sub(r"\s+", " ", block).strip() for block in (text or "").split("\n\n"))


if __name__ == "__main__":
    sys.stdout.write(page())
