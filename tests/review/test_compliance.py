"""The evidence: each rule with what checks it, what satisfies it, who approved exceptions, and manual duties."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import pytest

from groundplan.review.command import review
from groundplan.review.compliance import as_csv, checklist, evidence, framework_named, write
from groundplan.review.model import Review
from policies.settings import Settings, read_settings
from spec.errors import UsageError
from spec.objectives import load_config
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def prod() -> Review:
    return review(ROOT, "prod")


@pytest.fixture
def settings() -> Settings:
    config = load_config(ROOT, "prod")
    return read_settings(config["groundplan:objectives"], config["groundplan:waivers"], "prod")


def test_each_framework_has_a_page_and_a_table(prod: Review, settings: Settings, tmp_path: Path) -> None:
    for word in ("gdpr", "hipaa", "sox", "soc2"):
        rows, files = write(tmp_path, prod, settings, framework_named(word))
        assert all(file.is_file() for file in files) and not [row for row in rows if row.state == "failing"]
        listed = list(csv.DictReader(io.StringIO((tmp_path / f"{word}.csv").read_text(encoding="utf-8"))))
        assert [line["rule"] for line in listed] == [row.reference for row in rows]
        text = (tmp_path / f"{word}.html").read_text(encoding="utf-8")
        assert "not a certificate" in text and "<script" not in text and "Penetration test" in text


def test_what_no_program_can_do_is_said_with_who_must(prod: Review, settings: Settings) -> None:
    rows = {row.reference: row for row in evidence(prod, settings, "GDPR")}
    assert (rows["GDPR 32(1)(d)"].state, rows["GDPR 32(1)(d)"].who, rows["GDPR 32(1)(d)"].every) == (
        "due",
        "Security",
        "each quarter",
    )
    assert rows["GDPR 32(1)(a)"].state == "satisfied" and "lake-raw" in rows["GDPR 32(1)(a)"].satisfied
    waived = rows["GDPR 32(1)(b)"]
    assert waived.state == "waived" and {finding.resource for finding in waived.waived} == {
        "secrets-masking-key",
        "cluster-baseline-monitoring",
    }
    subjects = {row.reference for row in checklist(prod, settings)}
    assert subjects == {
        "Roles",
        "Secrets",
        "Encryption",
        "CloudTrail",
        "Masking",
        "GDPR Art. 83",
        "HIPAA 164.306",
        "Penetration test",
    }


def test_an_open_finding_fails_its_rules_and_its_resource_satisfies_nothing(prod: Review, settings: Settings) -> None:
    opened = tuple(dataclasses.replace(finding, waived=None) for finding in prod.findings)
    rows = {row.reference: row for row in evidence(dataclasses.replace(prod, findings=opened), settings, "GDPR")}
    assert rows["GDPR 32(1)(b)"].state == "failing" and rows["GDPR 32(1)(b)"].by_severity["high"] == 1
    assert "secret-rotates on secrets-masking-key" in as_csv([rows["GDPR 32(1)(b)"]])


def test_wrong_arguments_are_named(prod: Review, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown framework 'iso'"):
        framework_named("iso")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write(tmp_path / "file", prod, settings, "GDPR")
