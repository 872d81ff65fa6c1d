"""Which environments a release names."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from groundplan.local.home import Home
from groundplan.local.releasing import environment
from spec.errors import GroundplanError, UsageError
from spec.names import HOME
from spec.outputs import read

MODEL = HOME / "models" / "diabetes-rf"


@pytest.mark.parametrize(
    ("where", "profile", "says"),
    [
        ("stagin", "", "there is no environment 'stagin'"),
        ("staging", "nobody", "there is no AWS profile 'nobody'"),
        (str(HOME / "docs"), "", "the platform is not running"),
    ],
)
def test_an_environment_that_there_is_not_is_said(
    where: str, profile: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(GroundplanError, match=says), environment(Home(HOME), MODEL, where, profile, "", "--from"):
        pass


def test_a_stack_s_name_is_where_its_outputs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(source: str) -> None:
        asked.append(source)
        raise UsageError("no")

    monkeypatch.setattr("groundplan.local.releasing.read", refuse)
    with pytest.raises(UsageError), environment(Home(HOME), MODEL, "staging", "", "", "--from"):
        pass
    assert asked == ["s3://groundplan-staging-curated-222233334444/platform/outputs.json"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NoCredentialsError(), "there are no AWS credentials"),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"), "your credentials may not read it"),
        (ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject"), "there is no such object"),
        (ClientError({"Error": {"Code": "ExpiredToken"}}, "GetObject"), "AWS refuses .ExpiredToken."),
    ],
)
def test_outputs_that_can_not_be_read_say_why(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: str) -> str:
        raise error

    monkeypatch.setattr("spec.outputs._read_s3", fail)
    with pytest.raises(UsageError, match=says):
        read("s3://bucket/outputs.json")
