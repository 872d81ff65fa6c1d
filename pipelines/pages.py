"""Self-contained pages for people: no script, no network, light and dark, and readable on a telephone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #c62828 }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top }
thead th { background: var(--soft) } td, code { overflow-wrap: anywhere } td:first-child { overflow-wrap: break-word }
tbody th { font-weight: 400; width: 34% }
.scroll { overflow-x: auto } .wide td { white-space: nowrap }
.dim { opacity: .7 } .bad { color: var(--bad) }
@media (max-width: 45rem) { body { margin: 1rem auto } th, td { padding: .3rem .3rem } }
"""


def document(title: str, parts: Sequence[str]) -> str:
    """A page; its title and its parts are HTML."""
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport'"
        f" content='width=device-width,initial-scale=1'><title>{title}</title><style>{_STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """What is known, by name; both are HTML."""
    return "<table><tbody>" + "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows) + "</tbody></table>"


MANY = 6  # columns, with which cells no longer break their lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, which are HTML, below a head of texts; it scrolls by itself."""
    if not rows:
        return "<p>None.</p>"
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    wide = "scroll wide" if len(head) > MANY else "scroll"
    return f"<div class='{wide}'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
