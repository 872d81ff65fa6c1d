"""Contracts: what their authors get wrong, and changes that would break who reads the data."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundplan.contracts import catalogue, check
from infra.compatibility import breaks
from infra.contracts import parse_contract
from infra.errors import GroundplanError, UsageError
from tests.conftest import ROOT
from tests.flights import FOLDER

DOCUMENT = yaml.safe_load((FOLDER / "contracts" / "flights.yaml").read_text(encoding="utf-8"))


def changed(*changes: Callable[[dict[str, Any]], Any], version: str = "1.1.0", mode: str = "BACKWARD") -> Any:
    document = copy.deepcopy(DOCUMENT)
    document["version"] = version
    next(item for item in document["customProperties"] if item["property"] == "compatibility")["value"] = mode
    for change in changes:
        change(document)
    return parse_contract(document, "changed")


def field(name: str, **values: Any) -> Callable[[dict[str, Any]], Any]:
    def change(document: dict[str, Any]) -> None:
        item = next(item for item in document["schema"][0]["properties"] if item["name"] == name)
        item.update(values)

    return change


def added(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda document: document["schema"][0]["properties"].append({"name": "gate", "logicalType": "string", **values})


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda document: document["schema"][0].update(properties=[p for p in document["schema"][0]["properties"] if p["name"] != name])


WRONG: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda d: d.update(verson="1.0.0"), "verson: the standard has no such field; did you mean version?"),
    (field("origin", requird=True), "the standard has no such field; did you mean required?"),
    (field("distance", logicalTypeOptions={"minmum": 1}), "did you mean minimum?"),
    (lambda d: d["schema"][0].update(propertis=[]), "did you mean properties?"),
    (lambda d: d.update(version="1"), "version: String should match pattern"),
    (field("origin", logicalType="text"), "logicalType: Input should be 'integer', 'number', 'string', 'boolean' or 'timestamp'"),
    (field("origin", primaryKey=True), "exactly one property must have `primaryKey: true`"),
    (field("departed_at", partitioned=True), "`partitioned: true` is for one property: a timestamp that is required"),
    (field("distance", tags=["personal"]), "personal fields are tokenised, so their logicalType must be string"),
    (field("origin", logicalTypeOptions={"minimum": 1}), "a string has no minimum or maximum"),
    (field("scheduled_departure", logicalTypeOptions={"minimum": "soon"}), "the bound 'soon' is no time in ISO 8601"),
    (lambda d: d["schema"][0]["properties"].append(dict(d["schema"][0]["properties"][5])), "the property flight is there twice"),
    (lambda d: d["customProperties"].append({"property": "partition", "value": "year"}), "partition 'year' is none of day, month"),
    (field("origin", logicalTypeOptions={"pattern": "^[A-Z{2}$("}), "is no regular expression: "),
    (field("distance", logicalTypeOptions={"minimum": 9, "maximum": 1}), "the minimum 9 is above the maximum 1: no value is allowed"),
    (field("origin", logicalTypeOptions={"minLength": 2}), "nothing here would check minLength: write an expectation under `quality`"),
    (field("distance", logicalTypeOptions={"exclusiveMinimum": 0}), "nothing here would check exclusiveMinimum"),
    (field("distance", unique=True), "nothing here would check unique"),
    (field("tailnum", tags=["personel"]), "the tag 'personel' masks nothing; did you mean personal?"),
    (lambda d: d["customProperties"].append({"property": "compatability", "value": "FULL"}), "did you mean compatibility?"),
    (lambda d: d["slaProperties"].append({"property": "retension", "value": 7}), "did you mean retention?"),
    (lambda d: d["schema"][0].update(physicalName="My Topic"), "physicalName: String should match pattern"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_a_wrong_contract_gets_one_clear_message(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    with pytest.raises(UsageError) as raised:
        parse_contract(document, "flights.yaml")
    assert says in str(raised.value) and "flights.yaml" in str(raised.value)


OLD = changed(version="1.0.0")
CHANGES: list[tuple[Any, str]] = [
    (changed(), ""),
    (changed(added()), ""),
    (changed(field("distance", logicalTypeOptions={"minimum": 1, "maximum": 9000})), ""),
    (changed(field("air_time", logicalType="number")), ""),
    (changed(added(required=True)), "gate is required by 1.1.0 and not in 1.0.0 (BACKWARD: events of 1.0.0 are still in the topic)"),
    (changed(without("air_time")), "air_time is in 1.0.0 and not in 1.1.0"),
    (changed(field("air_time", required=True)), "air_time may be empty in 1.0.0 and not in 1.1.0"),
    (changed(field("distance", logicalTypeOptions={"minimum": 100, "maximum": 6000})), "distance: the least value is 1 on one side and 100 on the other"),
    (changed(field("flight", logicalType="string", logicalTypeOptions={})), "flight is integer in 1.0.0 and string in 1.1.0"),
    (changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z]{4}$"})), "dest: the form is ^[A-Z]{3}$ on one side"),
    (changed(field("tailnum", tags=[])), "tailnum was personal and would be stored as it comes"),
    (changed(field("dest", tags=["personal"])), "dest becomes personal, and the raw zone holds it as it came"),
    (changed(field("flight_id", primaryKey=False), field("carrier", primaryKey=True)), "the key was flight_id and is carrier"),
    (changed(lambda d: d["schema"][0].update(physicalName="flights-2")), "the topic was flights and is flights-2"),
    (changed(added(), version="1.0.0"), "the fields have changed, and the version is still 1.0.0"),
    (changed(added(), mode="FORWARD"), "gate is in 1.1.0 and not in 1.0.0 (FORWARD: readers by 1.0.0 would refuse the new events)"),
    (changed(added(), mode="FULL"), "readers by 1.0.0 would refuse the new events"),
]


@pytest.mark.parametrize(("new", "says"), CHANGES)
def test_a_change_that_breaks_who_reads_the_data_is_refused_with_the_reason(new: Any, says: str) -> None:
    found = breaks(OLD, new)
    assert (any(says in why for why in found), bool(found)) == (True, True) if says else not found


def test_what_nobody_checks_may_change_at_will() -> None:
    assert not breaks(changed(version="1.0.0", mode="NONE"), changed(without("air_time"), mode="NONE"))


def test_contracts_are_checked_against_another_revision(tmp_path: Path) -> None:
    folder = tmp_path / "examples" / "x" / "contracts"
    folder.mkdir(parents=True)

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (folder / "flights.yaml").write_text(yaml.safe_dump(DOCUMENT))
    git("add", "-A")
    git("commit", "-m", "first")
    assert [item.state for item in check(tmp_path, "HEAD")] == ["unchanged"]
    document = copy.deepcopy(DOCUMENT)
    without("air_time")(document)
    (folder / "flights.yaml").write_text(yaml.safe_dump({**document, "version": "2.0.0"}))
    (folder / "other.yaml").write_text(yaml.safe_dump({**DOCUMENT, "id": "other"}))
    found = {item.id: item for item in check(tmp_path, "HEAD")}
    assert (found["flights"].state, found["flights"].before, found["other"].state) == ("breaking", "1.0.0", "new")
    (folder / "flights.yaml").unlink()
    assert {item.id: item.state for item in check(tmp_path, "HEAD")} == {"flights": "breaking", "other": "new"}
    with pytest.raises(UsageError, match="nowhere"):
        check(tmp_path, "nowhere")


def test_the_page_of_data_is_current() -> None:
    assert (ROOT / "docs" / "data.md").read_text(encoding="utf-8") == catalogue(ROOT), "run `make docs`"


def test_a_rule_that_is_switched_off_is_none() -> None:
    assert changed(field("distance", unique=False)).properties == changed().properties


def test_a_time_without_quotes_is_a_time_and_zones_are_seen_through() -> None:
    unquoted = changed(field("scheduled_departure", logicalTypeOptions={"minimum": datetime(2012, 12, 31, tzinfo=UTC), "maximum": "2014-01-02"}))
    assert next(p for p in unquoted.properties if p.name == "scheduled_departure").logicalTypeOptions.minimum == "2012-12-31T00:00:00+00:00"
    wider = changed(field("scheduled_departure", logicalTypeOptions={"minimum": "2012-12-31T01:00:00+02:00", "maximum": "2014-01-02"}))
    assert not [why for why in breaks(unquoted, wider) if "least" in why]


@pytest.mark.parametrize(
    ("implementation", "says"),
    [
        ({"expectation_type": "expect_column_values_to_be_in_sett", "kwargs": {}}, "Great Expectations has no 'expect_column_values_to_be_in_sett'"),
        ({"expectation_type": "expect_column_values_to_be_in_set", "kwarg": {}}, "an expectation has no kwarg"),
        ({"expectation_type": "expect_column_values_to_be_in_set", "kwargs": {"column": "origin", "valueset": []}}, "does not take these kwargs: "),
        ({"expectation_type": "expect_column_values_to_be_in_set", "kwargs": {"column": "orign", "value_set": []}}, "about the column 'orign'"),
    ],
)
def test_a_slip_in_an_expectation_is_told_before_any_data(implementation: dict[str, Any], says: str) -> None:
    from pipelines.quality import expectations

    written = {"type": "custom", "engine": "greatExpectations", "implementation": implementation}
    contract = changed(field("origin", quality=[written]))
    with pytest.raises(GroundplanError) as raised:
        expectations(contract)
    assert says in str(raised.value) and contract.id in str(raised.value)


def test_the_page_of_data_says_why_a_field_is_not_personal(tmp_path: Path) -> None:
    folder = tmp_path / "examples" / "orders"
    shutil.copytree(ROOT / "examples" / "diabetes", folder)
    document = yaml.safe_load((folder / "contract.yaml").read_text(encoding="utf-8"))
    declared = {"name": "code", "logicalType": "string", "customProperties": [{"property": "notPersonal", "value": "codes | of our own shops"}]}
    document["schema"][0]["properties"].append(declared)
    (folder / "contract.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    assert r"| `code` | string |  |  | may be empty, not personal: codes \| of our own shops |" in catalogue(tmp_path)
