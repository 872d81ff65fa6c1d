"""Arguments of components are checked against their ranges when they are created."""

from __future__ import annotations

import ast
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated, Any

import pulumi
import pytest

from components.data.streaming import Topic
from components.foundation.args import Args, Between, LogRetention, OneOf
from components.foundation.keys import KeysArgs
from components.foundation.secrets import SecretsArgs
from components.operations.cost import CostArgs
from spec.errors import UsageError
from tests.conftest import ROOT


@dataclass(frozen=True, kw_only=True)
class Sample(Args):
    days: Annotated[int, Between(7, 30, "days", "KMS")] = 7
    mode: Annotated[str, OneOf(("A", "B"))] = "A"
    shares: Annotated[tuple[float, ...], Between(0, 1)] = ()
    most: Annotated[int, Between(1)] = 1
    logs: LogRetention = 30
    arn: pulumi.Input[str] = "arn:free"


@pytest.mark.parametrize(
    "good", [{}, {"days": 30}, {"mode": "B"}, {"shares": (0, 1)}, {"most": 10**9}, {"logs": 3653}, {"arn": ""}]
)
def test_what_is_in_range_is_taken(good: dict[str, Any]) -> None:
    made = Sample(**good)
    assert {name: getattr(made, name) for name in good} == good


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"days": 6}, "Sample.days: is 6; allowed: 7 to 30 days (KMS)"),
        ({"days": 31}, "is 31; allowed: 7 to 30 days"),
        ({"mode": "C"}, "Sample.mode: is 'C'; allowed: A, B"),
        ({"shares": (0.5, 1.5)}, "is (0.5, 1.5); allowed: 0 to 1"),
        ({"most": 0}, "is 0; allowed: at least 1"),
        ({"logs": 31}, "is 31; allowed: 1, 3, 5, 7, 14, 30"),
    ],
)
def test_what_is_out_of_range_is_refused_with_the_range(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        Sample(**bad)
    assert says in str(error.value)


def test_the_platforms_own_arguments_are_checked() -> None:
    with pytest.raises(UsageError, match=r"KeysArgs.deletion_days: is 3; allowed: 7 to 30 days \(KMS\)"):
        KeysArgs(deletion_days=3)
    with pytest.raises(UsageError, match=r"SecretsArgs\.recovery_days"):
        SecretsArgs(key_arn="k", names=("a",), recovery_days=0)
    with pytest.raises(UsageError, match=r"Topic\.partitions"):
        Topic(schema={}, partitions=0)
    with pytest.raises(UsageError, match=r"CostArgs\.alert_percent"):
        CostArgs(monthly_usd=10, alert_percent=(50, 0), addresses=(), topic_arn="t")


def test_arguments_are_given_by_keyword_and_stay() -> None:
    with pytest.raises(TypeError):
        KeysArgs(7)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        KeysArgs(deletion_days=7).deletion_days = 8  # type: ignore[misc]


def test_every_components_arguments_are_of_this_kind() -> None:
    seen = 0
    for path in sorted((ROOT / "components").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.ClassDef)
                and node.name.endswith("Args")
                and path.parent.name != "plugin"
                and path.name != "args.py"
            ):
                assert [ast.unparse(base) for base in node.bases] == ["Args"], f"{path}: {node.name}"
                seen += 1
    assert seen > 30
