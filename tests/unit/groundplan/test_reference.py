"""Generated pages are current, and describe everything."""

from __future__ import annotations

import typer.main

from groundplan.cli import reference
from groundplan.cli.app import app
from spec.objectives import reference as objectives
from tests.conftest import ROOT


def test_the_page_of_commands_is_current_and_every_option_says_what_it_does() -> None:
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == reference.page(), "run `make docs`"

    def commands(group: object) -> list[object]:
        below = getattr(group, "commands", {}).values()
        return [found for item in below for found in commands(item)] if below else [group]

    for command in commands(typer.main.get_command(app)):
        assert getattr(command, "help", ""), command
        assert all(param.help for param in command.params), [param.name for param in command.params if not param.help]  # type: ignore[attr-defined]


def test_the_page_of_objectives_is_current_and_every_field_says_what_it_means() -> None:
    page = objectives.page()
    assert (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8") == page, "run `make docs`"
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 45 and all(len(row) >= 4 and row[3].strip() for row in rows)


def test_every_command_that_the_pages_show_exists() -> None:
    import re

    known = set(re.findall(r"(?m)^### groundplan (.+)$", reference.page()))
    shown = {
        (path.name, found)
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for found in re.findall(
            r"(?:^|[`(])(?:\.venv/bin/)?groundplan ([a-z-]+(?: [a-z-]+)?)\b", path.read_text(encoding="utf-8")
        )
    }
    assert len(shown) > 20
    assert not {(page, found) for page, found in shown if found not in known and found.split()[0] not in known}


def test_links_between_pages_lead_somewhere() -> None:
    import re

    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:")
    ]
    assert len(links) > 30
    assert not [f"{page.relative_to(ROOT)}: {target}" for page, target in links if not (page.parent / target).exists()]
