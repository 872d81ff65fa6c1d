"""Whether every text that has one form has another, too."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

MOST_REPEATS = 300  # what a form counts to; an automaton has a state for each


@cache
def within(narrow: str, wide: str) -> bool | None:
    """Whether the texts of the first form are all of the second; None where that can't be told (lookaheads, counts in the thousands)."""
    if narrow == wide:
        return True
    one, other = _automaton(narrow), _automaton(wide)
    if one is None or other is None:
        return None
    return bool(one.difference(other).empty())


def _automaton(pattern: str) -> Any:
    """The finite automaton of whole texts that have the pattern somewhere."""
    import interegular
    from interegular.patterns import InvalidSyntax, Unsupported

    if any(int(count) > MOST_REPEATS for count in re.findall(r"\{(?:\d*,)?(\d+)\}", pattern)) or _anchored_choice(pattern):
        return None
    ends = pattern.endswith("$") and not re.search(r"(?<!\\)(\\\\)*\\\$$", pattern)
    inner = pattern[1 if pattern.startswith("^") else 0 : -1 if ends else None]
    whole = f"{'' if pattern.startswith('^') else _ANYTHING}(?:{inner}){'' if ends else _ANYTHING}"
    try:
        return interegular.parse_pattern(whole).to_fsm()
    except (InvalidSyntax, Unsupported, ValueError, RecursionError):
        return None


_ANYTHING = r"(?:.|\n)*"


def _anchored_choice(pattern: str) -> bool:
    """Whether an anchor holds for one side of a choice only (``^a|b$``), or stands in the middle."""
    bare = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", pattern)
    depth, choices = 0, False
    for char in bare:
        depth += (char == "(") - (char == ")")
        choices |= char == "|" and depth == 0
    middle = bare.removeprefix("^").removesuffix("$")
    return "^" in middle or "$" in middle or (choices and middle != bare)
