"""Whether every text that matches one pattern also matches another."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

MOST_SECONDS, MOST_AT_ONCE = 3, 6
MOST_REPEATS = 300  # largest repetition count in a pattern; an automaton has a state for each


@cache
def within(narrow: str, wide: str) -> bool | None:
    """Whether all texts of the first pattern match the second; None where that is undecided (lookaheads, counts in the
    thousands).
    """
    if narrow == wide:
        return True
    if any(map(_unlike, (narrow, wide))):
        return None
    if any(map(_large, (narrow, wide))):
        return _elsewhere(narrow, wide)
    return decided(narrow, wide)


def decided(narrow: str, wide: str) -> bool | None:
    """The same without a time limit."""
    one, other = _automaton(narrow), _automaton(wide)
    if one is None or other is None:
        return None
    return bool(one.difference(other).empty())


@cache
def lengths(pattern: str) -> tuple[int, int | None]:
    """Shortest and longest text of a pattern; None where there is no limit, or where it is undecided."""
    automaton = None if _unlike(pattern) or _large(pattern) else _automaton(pattern)
    if automaton is None or automaton.empty():
        return 0, None
    steps = {
        state: {after for after in automaton.map.get(state, {}).values() if automaton.islive(after)}
        for state in automaton.states
    }
    level, shortest = {automaton.initial}, None
    for length in range(
        len(automaton.states) + 1
    ):  # a text with more letters than states has visited one of them twice, and may do so again
        if shortest is None and level & automaton.finals:
            shortest = length
        level = {after for state in level for after in steps[state]}
        if not level:
            return shortest or 0, length
    return shortest or 0, None


def _unlike(pattern: str) -> bool:
    """Whether RE2, which reads patterns here, and the automata read it differently."""
    return bool(re.search(r"\{,|\[\^?\]|\[\[:|\\[sSpPzZQ]", pattern))


def _large(pattern: str) -> bool:
    """Whether its automaton may grow exponentially: a count after something of any length."""
    counts = [int(count) for count in re.findall(r"\{(?:\d*,)?(\d+)\}", pattern)]
    open_ended = not pattern.startswith("^") or re.search(r"[*+]|\{\d+,\}", pattern)
    return bool(open_ended) and max(counts, default=0) > MOST_AT_ONCE


def _elsewhere(narrow: str, wide: str) -> bool | None:
    """The same in a process that can be stopped."""
    import subprocess
    import sys

    code = "import sys; from spec.contracts.patterns import decided; print(decided(*sys.argv[1:]))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, narrow, wide],
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return {"True": True, "False": False}.get(done.stdout.strip())


def _automaton(pattern: str) -> Any:
    """The finite automaton of texts that contain the pattern."""
    import interegular
    from interegular.patterns import InvalidSyntax, Unsupported

    if any(int(count) > MOST_REPEATS for count in re.findall(r"\{(?:\d*,)?(\d+)\}", pattern)) or _anchored_choice(
        pattern
    ):
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
    """Whether an anchor applies to one side of an alternative only (``^a|b$``), or is in the middle."""
    bare = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", pattern)
    depth, choices = 0, False
    for char in bare:
        depth += (char == "(") - (char == ")")
        choices |= char == "|" and depth == 0
    middle = bare.removeprefix("^").removesuffix("$")
    return "^" in middle or "$" in middle or (choices and middle != bare)
