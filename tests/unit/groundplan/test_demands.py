"""What a project is held to beyond its stack's objectives: its file, the options, and what is wrong in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groundplan.review.demands import Demands, check_selected, read_demands
from groundplan.review.model import Finding
from spec.errors import UsageError

WAIVER = {
    "policy": "tagged",
    "resource": "b",
    "reason": "r",
    "approver": "a@b.c",
    "expires": "2027-01-31",
}
FILE = """
regimes = ["gdpr", "SOC 2"]
fail-on = "high"
select = ["network exposure", "secrets"]

[[waivers]]
policy = "tagged"
resource = "b"
reason = "r"
approver = "a@b.c"
expires = "2027-01-31"
"""


def finding(severity: str, *, mandatory: bool = False) -> Finding:
    return Finding("rds-private", "t", severity, mandatory, "r", "t", "u", "m", law=("GDPR 32(1)(b)", "FSBP RDS.2"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("groundplan.toml", FILE), ("pyproject.toml", "[tool.groundplan]" + FILE.replace("[[w", "[[tool.groundplan.w"))],
)
def test_a_projects_file_and_the_options_add_up(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_demands(tmp_path, regimes=["hipaa"], fail_on="low", select=["critical,s3-*"])
    assert found.regimes == ("gdpr", "soc2", "hipaa") and found.fail_on == "low"
    assert found.select == (("network exposure", "secrets"), ("critical", "s3-*"))
    config = found.config({"groundplan:waivers": json.dumps([{**WAIVER, "resource": "a"}]), "aws:region": "eu-west-1"})
    assert [item["resource"] for item in json.loads(config["groundplan:waivers"])] == ["a", "b"]
    assert json.loads(config["groundplan:regimes"]) == ["gdpr", "soc2", "hipaa"]
    assert config["aws:region"] == "eu-west-1"


def test_a_project_without_a_file_is_held_to_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1\n", encoding="utf-8")
    found = read_demands(tmp_path)
    assert found == Demands() and found.config({"a:b": "c"}) == {"a:b": "c"}
    (tmp_path / "pyproject.toml").write_text("not TOML", encoding="utf-8")
    assert read_demands(tmp_path) == Demands(), "another tool's matter"


def test_a_severity_decides_what_fails() -> None:
    assert Demands(fail_on="high").judged(finding("critical")).mandatory
    assert Demands(fail_on="high").judged(finding("high")).mandatory
    assert not Demands(fail_on="high").judged(finding("medium")).mandatory
    assert Demands(fail_on="high").judged(finding("low", mandatory=True)).mandatory
    assert not Demands(fail_on="never").judged(finding("critical", mandatory=True)).mandatory
    assert Demands().judged(finding("low", mandatory=True)).mandatory


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([["network exposure"]], True),
        ([["Network Exposure", "secrets"]], True),
        ([["secrets"]], False),
        ([["medium"]], True),
        ([["critical"]], False),
        ([["GDPR"]], True),
        ([["gdpr"], ["high"]], True),
        ([["soc2"]], False),
        ([["FSBP"]], True),
        ([["rds-*"]], True),
        ([["s3-*"], ["gdpr"]], False),
    ],
)
def test_a_selection_takes_families_severities_frameworks_and_controls(words: list[list[str]], wanted: bool) -> None:
    demands = Demands(select=tuple(map(tuple, words)))
    law = ("GDPR 32(1)(b)", "FSBP RDS.2")
    assert demands.wants("rds-private", "high", "network exposure", law) is wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('regime = ["gdpr"]', "regime is no setting"),
        ('regimes = ["gpdr"]', "unknown regime 'gpdr'"),
        ('regimes = "gdpr"', "regimes is 'gdpr', not a list of texts"),
        ('fail-on = "hihg"', "unknown severity 'hihg'"),
        ('waivers = "x"', "waivers is 'x', not a list"),
        ("regimes = [\n", "is not valid TOML"),
        ("\n\nregimes = gdpr\n", "is not valid TOML in line 3"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "groundplan.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        read_demands(tmp_path)
    assert says in refused.value.what and "groundplan.toml" in refused.value.where and refused.value.fix


def test_a_wrong_option_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--regime"):
        read_demands(tmp_path, regimes=["iso"])
    with pytest.raises(UsageError, match="--fail-on"):
        read_demands(tmp_path, fail_on="severe")
    policies = [{"id": "rds-private", "family": "network exposure", "law": ["GDPR 32"]}]
    check_selected(Demands(select=(("high", "rds-*", "GDPR", "network exposure"),)), policies)
    with pytest.raises(UsageError, match="nothing is called 'netwrok'"):
        check_selected(Demands(select=(("netwrok",),)), policies)
