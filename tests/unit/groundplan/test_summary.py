"""What is printed in the terminal is the users' own text, letter by letter."""

from __future__ import annotations

import pytest

from groundplan.local.summary import print_reproduced, print_results

CODE = "[t.start() for t in ts]; {'[/]': 1, '[/red]': [b]}"


def test_a_line_of_code_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    slowest = [{"where": "mine.py:12", "code": CODE, "seconds": 1.5, "share": 0.13}]
    step = {
        "run_id": "1",
        "metrics": {"[bold]mae": 1.0},
        "duration_s": 2.0,
        "code_version": "abc",
        "profile": {"slowest": slowest, "machine": {}, "artifacts": "profile"},
    }
    print_results({"model": "mine", "experiment": step})
    printed = capsys.readouterr().out
    assert f"13%   1.50 s  mine.py:12  {CODE}" in printed and "[bold]mae 1" in printed
    assert "it was over before anything was measured" in printed


def test_what_is_compared_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    compared = [{"what": "parameters", "then": {"layers": "[a]"}, "now": {"layers": "[/a]"}, "same": False}]
    print_reproduced({"compared": compared, "reproduced": False, "run": "1", "again": "2"})
    printed = capsys.readouterr().out
    assert "layers [a]" in printed and "layers [/a]" in printed
