"""A review for users and programs: terminal, Markdown for a pull request, SARIF 2.1.0, one HTML page, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from groundplan.review.formats.markdown import as_markdown
from groundplan.review.formats.page import as_html
from groundplan.review.formats.sarif import as_sarif
from groundplan.review.model import Review

FORMATS = ("text", "markdown", "sarif", "html", "json")


def as_json(review: Review) -> str:
    """All of it."""
    return json.dumps(review.document(), indent=1, default=str)


RENDERERS: dict[str, Callable[[Review], str]] = {
    "markdown": as_markdown,
    "sarif": as_sarif,
    "html": as_html,
    "json": as_json,
}
