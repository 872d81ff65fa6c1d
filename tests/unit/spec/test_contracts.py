"""Contracts: what the standard allows is accepted, all errors in one are reported, and changes that would break readers
of the data are refused.
"""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from groundplan.contracts.catalogue import catalogue
from groundplan.contracts.check import all_files, as_json, as_sarif, as_text, check
from spec.contracts import Contract, Limits
from spec.contracts.compatibility import breaks
from spec.contracts.document import Document
from spec.contracts.patterns import within
from spec.contracts.reading import Read, read
from spec.contracts.standard import VERSIONS
from spec.errors import UsageError
from spec.model_folders import refuse_drafts
from tests.conftest import ROOT
from tests.contracts import Change, bent_document, contract_of, field, small
from tests.flights import FOLDER

FLIGHTS = FOLDER / "contracts" / "flights.yaml"
TEN_EAST = datetime.fromisoformat("2020-01-01T00:00+10:00")
KEY = {"name": "id", "logicalType": "string", "primaryKey": True}


def changed(*changes: Change, version: str = "1.1.0", mode: str = "BACKWARD") -> Contract:
    def release(document: dict[str, Any]) -> None:
        document["version"] = version
        next(item for item in document["customProperties"] if item["property"] == "compatibility")["value"] = mode

    return contract_of(bent_document(FLIGHTS, release, *changes))


def added(**values: Any) -> Change:
    return lambda document: document["schema"][0]["properties"].append(
        {"name": "gate", "logicalType": "string", **values}
    )


def without(name: str) -> Change:
    return lambda document: document["schema"][0].update(
        properties=[p for p in document["schema"][0]["properties"] if p["name"] != name]
    )


def told(document: dict[str, Any]) -> Read:
    return read(Document("c.yaml", yaml.safe_dump(document, sort_keys=False)))


WRONG: list[tuple[Change, str]] = [
    (lambda d: d.update(verson="1.0.0"), "verson: the standard has no 'verson'\n  -> did you mean version?"),
    (
        field("origin", requird=True),
        "flights.origin.requird: the standard has no 'requird'\n  -> did you mean required?",
    ),
    (field("distance", logicalTypeOptions={"minmum": 1}), "did you mean minimum?"),
    (lambda d: d["schema"][0].update(propertis=[]), "did you mean properties?"),
    (lambda d: d.update(version=1.0), "version: must be a text, but is 1.0\n  -> put it in quotes"),
    (lambda d: d.pop("status"), "`status` is missing\n  -> add it; for example `status: active`"),
    (lambda d: d.pop("apiVersion"), "apiVersion is missing: which version of the standard is it?"),
    (lambda d: d.update(apiVersion="v2.2.2"), "v2.2.2 of the standard has other sections than version 3"),
    (lambda d: d.update(apiVersion="3.1.0"), "'3.1.0' is not a known version of the standard"),
    (
        lambda d: d.update(apiVersion="v9.0.0"),
        "is not a known version of the standard (v3.0.0, v3.0.1, v3.0.2, v3.1.0, v3.2.0)",
    ),
    (lambda d: d.update(dataContractSpecification="1.1.0"), "is in another format (datacontract.com)"),
    (
        field("origin", logicalType="text"),
        'logicalType: "text" is not one of string, date, timestamp, time, number, integer, object, array, boolean',
    ),
    (field("origin", logicalTypeOptions={"minimum": 1}), "'minimum'"),
    (
        field("scheduled_departure", logicalTypeOptions={"minimum": "soon"}),
        "the bound 'soon' is not a valid time in ISO 8601",
    ),
    (
        lambda d: d["schema"][0]["properties"].append(dict(d["schema"][0]["properties"][5])),
        "the property flight appears twice",
    ),
    (
        lambda d: d["schema"][0]["properties"].append({"name": "Flight", "logicalType": "string"}),
        "Flight and flight are the same name for Athena and Glue",
    ),
    (added(name="two\nlines"), "is not a valid column name"),
    (added(name=" gate"), "begins or ends with a blank"),
    (added(name="groundplan:offset"), "names that begin with 'groundplan:' are the platform's own"),
    (field("origin", logicalTypeOptions={"pattern": "^[A-Z{2}$("}), "is not valid RE2 syntax"),
    (
        field("origin", logicalTypeOptions={"pattern": "^(?!EWR)"}),
        "is not valid RE2 syntax (it has no lookahead, lookbehind or backreferences)",
    ),
    (
        field("distance", logicalTypeOptions={"minimum": 9, "maximum": 1}),
        "the minimum 9 is above the maximum 1: no value is allowed",
    ),
    (
        field("distance", logicalTypeOptions={"exclusiveMinimum": 5, "maximum": 5}),
        "the minimum 5 is above the maximum 5: no value is allowed",
    ),
    (field("distance", logicalTypeOptions={"minimum": 2**63}), "no whole number of 64 bits lies within these bounds"),
    (
        field("origin", logicalTypeOptions={"minLength": 9, "maxLength": 3}),
        "minLength 9 is above maxLength 3: no value is allowed",
    ),
    (added(logicalType="number", physicalType="decimal(50, 2)"), "a decimal has 1 to 38 digits"),
    (
        field("distance", logicalTypeOptions={"minimum": 0.2, "maximum": 0.8}),
        "no whole number of 64 bits lies within these bounds",
    ),
    (
        added(logicalType="number", physicalType="decimal(5,2)", logicalTypeOptions={"minimum": 1000}),
        "no decimal of 5 digits lies within these bounds",
    ),
    (
        lambda d: (d.update(apiVersion="v3.2.0"), added(logicalType="integer", enum=[{"value": "a"}])(d)),
        "'a' is listed as allowed, but the type is integer",
    ),
    (
        field("origin", logicalTypeOptions={"pattern": "^[A-Z]{,3}$"}),
        "has a count without a lower bound, which RE2 reads as text\n  -> write {0,3}",
    ),
    (
        added(logicalType="timestamp", logicalTypeOptions={"format": "yyyy-MM-dd HH:mm z"}),
        "has 'z', which is not supported",
    ),
    (
        lambda d: (
            d["customProperties"].append({"property": "version", "value": "tailnum"}),
            field("tailnum", required=True)(d),
        ),
        "is masked, but tokens have no order",
    ),
    (
        field("origin", quality=[{"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": "JFK"}}]),
        "validValues must be a list",
    ),
    (
        field("origin", quality=[{"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "(?=x)"}}]),
        "is not valid RE2 syntax",
    ),
    (
        lambda d: d["schema"][0].update(
            quality=[{"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["orign"]}}]
        ),
        "is about the field 'orign'",
    ),
    (
        added(logicalType="timestamp", logicalTypeOptions={"defaultTimezone": "Mars/Base"}),
        "'Mars/Base' is not a time zone of the IANA database",
    ),
    (
        added(logicalType="date", logicalTypeOptions={"format": "QQQ yyyy"}),
        "the format 'QQQ yyyy' has 'QQQ', which is not supported",
    ),
    (field("tailnum", tags=["personel"]), "the tag 'personel' masks nothing\n  -> did you mean personal?"),
    (
        field("tailnum", customProperties=[{"property": "notPersonal", "value": "a plane, not a person"}]),
        "is declared both personal (tags: personal) and not personal",
    ),
    (field("dest", customProperties=[{"property": "notPersonal", "value": "no"}]), "notPersonal must give the reason"),
    (
        lambda d: d["customProperties"].append({"property": "compatability", "value": "FULL"}),
        "did you mean compatibility?",
    ),
    (
        added(name="parts", logicalType="array", items={"logicalType": "string"}, primaryKey=True),
        "an array can't be the key",
    ),
    (
        added(name="a", logicalType="object", properties=[{"name": "x:y", "logicalType": "string"}]),
        "which tables use to write types",
    ),
    (field("origin", quality=[{"metric": "rowCount"}]), "has no comparison\n  -> give one of mustBe, mustNotBe"),
    (
        field("origin", quality=[{"metric": "nullValues", "mustBe": 1, "mustBeLessThan": 2}]),
        "mustBe and mustBeLessThan together",
    ),
    (field("origin", quality=[{"metric": "rowCount", "mustBeBetween": [9, 1]}]), "mustBeBetween: 9 is above 1"),
    (
        field("origin", quality=[{"metric": "rowCount", "mustBeBetween": [9]}]),
        "mustBeBetween is [9]\n  -> give two numbers, the smaller first",
    ),
    (
        lambda d: (d.update(apiVersion="v3.0.2"), added(logicalType="binary")(d)),
        'gate.logicalType: "binary" is not one of',
    ),
    (
        lambda d: d["schema"][0].update(relationships=[{"from": "a b", "to": "c.d"}]),
        '"a b" does not have the form that the standard requires here',
    ),
    (
        field("origin", quality=[{"metric": "invalidValues", "mustBe": 0}]),
        "invalidValues needs `arguments` with `validValues` or `pattern`",
    ),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_a_wrong_contract_gets_one_clear_message(change: Change, says: str) -> None:
    document = bent_document(FLIGHTS, change)
    with pytest.raises(UsageError) as raised:
        contract_of(document, "flights.yaml")
    assert says in str(raised.value) and "flights.yaml:" in str(raised.value)
    assert not any(
        word in str(raised.value) for word in ("Unevaluated", "is not of type", "required property", "Input should")
    ), "no library's words"


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    text = (
        FLIGHTS.read_text(encoding="utf-8")
        .replace("name: origin", "nam: origin")
        .replace("version: 1.0.0", "version: 1.0")
    )
    faults = read(Document("flights.yaml", text)).faults
    lines = text.splitlines()
    assert len(faults) >= 2
    assert {lines[fault.line - 1].split(":")[0].strip() for fault in faults if "version" in fault.place} == {"version"}
    assert any("nam: origin" in lines[fault.line - 1] for fault in faults)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a: [1\nb: 2",
            (
                "c.yaml:2: is not valid YAML from here on\n  -> look here and at the lines before: a bracket, a quote"
                " or an indentation is wrong"
            ),
        ),
        ("- a\n- b", "c.yaml:1: is not a data contract: it contains no `key: value` pairs"),
        ("", "c.yaml:1: is not a data contract"),
        ("id: a\nname: b\nid: c", "c.yaml:3: `id` appears twice\n  -> remove one of them"),
        ("a: 1\n---\nb: 2", "contains several documents"),
        ("tags: !!set {pii}", "has a part with a custom type"),
        ("1: a", "c.yaml:1: a key is not text\n  -> put it in quotes"),
        ("a: " + "[" * 100_000, "c.yaml:1: is more than 100 levels deep"),
        ('{"id": "a", "id": "b"}', "c.yaml:1: `id` appears twice"),
        ("a: !!python/object:os.system x", "c.yaml:1: has a part with a custom type (`!`), which is not read"),
        (
            "a:\n\t- b",
            "c.yaml:2: is not valid YAML from here on\n  -> look here and at the lines before: tabs can't be used for"
            " indentation",
        ),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{n}: &{n} [{', '.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
            "has more than 200,000 parts, once its aliases are expanded",
        ),
    ],
)
def test_a_file_that_is_no_contract_is_named_with_its_line(text: str, says: str) -> None:
    (fault,) = read(Document("c.yaml", text)).faults
    assert str(fault).startswith(says) or says in str(fault)


def test_a_contract_of_an_old_version_may_use_what_came_later_and_is_told_so() -> None:
    document = bent_document(FLIGHTS, lambda d: d.update(apiVersion="v3.0.2"))
    found = told(document)
    assert not found.faults and found.contracts
    note = next(note for note in found.notes if note.place == "apiVersion")
    assert (
        note.says.startswith(
            "v3.0.2 does not have everything that is used here (flights.scheduled_departure.logicalType: "
        )
        and note.fix == "write v3.1.0"
    )
    for version in VERSIONS[VERSIONS.index("v3.1.0") :]:
        assert (
            not told({**document, "apiVersion": version}).notes[1:]
            and told({**document, "apiVersion": version}).contracts == found.contracts
        )


def test_our_own_contracts_hold_to_the_version_they_name() -> None:
    for path in all_files(ROOT):
        found = read(Document(path.name, path.read_text(encoding="utf-8")))
        assert not found.faults and not any(note.place == "apiVersion" for note in found.notes)


def typed(**values: Any) -> Any:
    """The field of a contract with these values."""
    return contract_of(small(KEY, {"name": "x", **values})).field("x")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"logicalType": "integer"}, "integer"),
        ({"logicalType": "number"}, "number"),
        ({"logicalType": "number", "physicalType": "int4"}, "integer"),
        ({"logicalType": "number", "physicalType": "NUMERIC(12,2)"}, "decimal"),
        ({"logicalType": "number", "physicalType": "DECIMAL(9)"}, "decimal"),
        ({"physicalType": "varchar(20)"}, "string"),
        ({"physicalType": "timestamptz"}, "timestamp"),
        ({"physicalType": "DATE"}, "date"),
        ({"physicalType": "bigint"}, "integer"),
        ({"physicalType": "double precision"}, "number"),
        ({"physicalType": "BOOL"}, "boolean"),
        ({"physicalType": "jsonb"}, "json"),
        ({"physicalType": "interval"}, "string"),
        ({"logicalType": "time"}, "time"),
        ({"logicalType": "object"}, "json"),
        ({"logicalType": "object", "properties": [{"name": "a", "logicalType": "date"}]}, "object"),
        ({"logicalType": "array"}, "json"),
        ({"logicalType": "array", "items": {"logicalType": "integer"}}, "array"),
        ({}, "json"),
    ],
)
def test_every_type_has_a_kind(values: dict[str, Any], kind: str) -> None:
    assert typed(**values).kind == kind


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": 1, "exclusiveMaximum": 10}}, Limits(1, 9)),
        ({"logicalType": "integer", "logicalTypeOptions": {"format": "u8"}}, Limits(0, 255)),
        ({"logicalType": "integer", "logicalTypeOptions": {"format": "i16", "minimum": -5}}, Limits(-5, 32767)),
        (
            {"logicalType": "number", "logicalTypeOptions": {"exclusiveMinimum": 0, "minimum": 0}},
            Limits(0, least_open=True),
        ),
        ({"logicalType": "date", "logicalTypeOptions": {"minimum": "2020-01-01"}}, Limits(date(2020, 1, 1))),
        ({"logicalType": "time", "logicalTypeOptions": {"maximum": "23:59:59"}}, Limits(most=time(23, 59, 59))),
        (
            {"logicalType": "timestamp", "logicalTypeOptions": {"minimum": "2020-01-01 00:00:00+10:00"}},
            Limits(TEN_EAST),
        ),
        (
            {"logicalType": "number", "physicalType": "decimal(9,2)", "logicalTypeOptions": {"maximum": 0.3}},
            Limits(most=Decimal("0.3")),
        ),
        (
            {"logicalType": "string", "logicalTypeOptions": {"minLength": 2, "maxLength": 4}},
            Limits(shortest=2, longest=4),
        ),
        ({"logicalType": "string", "logicalTypeOptions": {"pattern": "^[a-z]+$"}}, Limits(pattern="^[a-z]+$")),
    ],
)
def test_options_of_types_become_limits(values: dict[str, Any], limits: Limits) -> None:
    assert typed(**values).limits == limits


def test_open_bounds_are_read_as_their_version_of_the_standard_means_them() -> None:
    old = small(
        KEY,
        {"name": "n", "logicalType": "integer", "logicalTypeOptions": {"minimum": 1, "exclusiveMinimum": True}},
        apiVersion="v3.0.2",
    )
    assert contract_of(old).field("n").limits == Limits(2)  # type: ignore[union-attr]


def test_allowed_values_of_the_newest_version_are_limits() -> None:
    document = small(
        KEY,
        {"name": "c", "logicalType": "string", "enum": [{"value": "a"}, {"value": "b", "description": "the second"}]},
        apiVersion="v3.2.0",
    )
    assert contract_of(document).field("c").limits.allowed == ("a", "b")  # type: ignore[union-attr]


def test_several_objects_are_several_topics_and_physical_names_are_those_of_events() -> None:
    document = small(KEY, {"name": "customer", "physicalName": "cust_id", "logicalType": "string"})
    document["schema"].append(
        {"name": "Line Items", "properties": [{"name": "no", "logicalType": "integer", "primaryKey": True}]}
    )
    found = told(document)
    first, second = found.contracts
    assert (first.id, first.topic, first.view, [item.name for item in first.fields]) == (
        "c/c",
        "c",
        "c",
        ["id", "cust_id"],
    )
    assert (second.id, second.topic, second.view, second.object) == (
        "c/Line Items",
        "line-items",
        "line_items",
        "Line Items",
    )
    assert first.field("customer") is first.field("cust_id"), "rules call it by its name"
    assert any(
        "'Line Items' is not a valid topic name: line-items is used instead" in note.says for note in found.notes
    )
    document["schema"].append({"name": "C", "properties": [KEY]})
    assert any("describes the topic c, and so does c" in fault.says for fault in told(document).faults)


def test_what_is_kept_and_not_enforced_is_listed() -> None:
    document = small(
        {**KEY, "logicalTypeOptions": {"format": "uuid"}},
        {"name": "tags", "logicalType": "array", "logicalTypeOptions": {"uniqueItems": True}},
        price={"priceAmount": 1},
        slaProperties=[{"property": "freshness", "value": 1, "unit": "d"}],
        roles=[{"role": "reader", "access": "read"}],
    )
    document["schema"][0]["quality"] = [
        {"type": "text", "description": "should look plausible"},
        {"type": "custom", "engine": "soda", "implementation": "x"},
        {"type": "sql", "query": "SELECT count(*) FROM elsewhere", "mustBe": 0},
    ]
    found = told(document)
    says = {note.place: note.says for note in found.notes}
    assert not found.faults
    assert {
        "price",
        "slaProperties",
        "roles",
        "c.id.logicalTypeOptions.format",
        "c.tags.logicalTypeOptions.uniqueItems",
    } <= set(says)
    assert says["c.quality[0]"] == "kept, not enforced: text is for readers"
    assert says["c.quality[1]"] == "kept, not enforced: checks of soda are not run"
    assert (
        says["c.quality[2]"]
        == "kept, not enforced: the query is about elsewhere, which is not an object of the contract"
    )


PERSONAL: list[tuple[dict[str, Any], bool]] = [
    ({"tags": ["personal"]}, True),
    ({"tags": ["PII"]}, True),
    ({"tags": ["Personal-Data"]}, True),
    ({"tags": ["gdpr:personal"]}, True),
    ({"classification": "PII"}, True),
    ({"classification": "personal data"}, True),
    ({"classification": "sensitivePersonal"}, True),
    ({"classification": "PII - do not share"}, True),
    ({"classification": "personal, no export"}, True),
    ({"tags": ["PIIData"]}, True),
    ({"tags": ["P.I.I."]}, True),
    ({"classification": "PIIs"}, True),
    ({"classification": "personally identifying"}, True),
    ({"customProperties": [{"property": "dataClassification", "value": "personal"}]}, True),
    ({"customProperties": [{"property": "x-pii-flag", "value": "yes"}]}, True),
    ({"tags": ["pii-free-text"]}, True),
    ({"tags": ["pii: false"]}, False),
    ({"tags": ["no pii"]}, False),
    ({"classification": "not personally identifiable"}, False),
    ({"tags": ["personas"]}, False),
    ({"classification": "restricted"}, False),
    ({"classification": "non-PII"}, False),
    ({"tags": ["not personal"]}, False),
    ({"encryptedName": "email_encrypted"}, True),
    ({"criticalDataElement": True}, True),
    ({"criticalDataElement": False}, False),
    ({"customProperties": [{"property": "pii", "value": True}]}, True),
    ({"customProperties": [{"property": "containsPersonalData", "value": "yes"}]}, True),
    ({"customProperties": [{"property": "pii", "value": "false"}]}, False),
    ({"tags": ["person"]}, False),
    ({}, False),
    (
        {
            "criticalDataElement": True,
            "customProperties": [{"property": "notPersonal", "value": "the number of a product"}],
        },
        False,
    ),
]


@pytest.mark.parametrize(("values", "personal"), PERSONAL)
def test_personal_data_is_known_by_every_spelling_in_use(values: dict[str, Any], personal: bool) -> None:
    for kind in ("string", "date", "integer"):
        item = typed(logicalType=kind, **values)
        assert bool(item.personal) == personal and item.stored == ("string" if personal else kind)


def test_all_of_a_personal_object_is_personal_and_texts_of_a_personal_table() -> None:
    parts = [{"name": "street", "logicalType": "string"}, {"name": "no", "logicalType": "integer"}]
    home = {"name": "home", "logicalType": "object", "classification": "pii", "properties": parts}
    names = {"name": "names", "logicalType": "array", "items": {"logicalType": "string"}, "tags": ["pii"]}
    contract = contract_of(small(KEY, home, names, {"name": "n", "logicalType": "number"}))
    assert {".".join(path) for path, item in contract.leaves() if item.personal} == {
        "home.street",
        "home.no",
        "names.[]",
    }
    document = small(
        KEY,
        {"name": "n", "logicalType": "number"},
        {"name": "open", "logicalType": "string", "classification": "public"},
    )
    document["schema"][0]["tags"] = ["pii"]
    found = told(document)
    assert [item.name for item in found.contracts[0].fields if item.personal] == ["id"]
    assert any(
        "is personal as a whole (tags: pii), but no field is: all texts, dates and whole numbers are masked (id)"
        in note.says
        for note in found.notes
    )


OLD = changed(version="1.0.0")
CHANGES: list[tuple[Contract, str]] = [
    (changed(), ""),
    (changed(added()), ""),
    (changed(field("distance", logicalTypeOptions={"minimum": 1, "maximum": 9000})), ""),
    (changed(field("air_time", logicalType="number")), ""),
    (changed(field("distance", description="in other words"), version="1.0.0"), ""),
    (changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z]{3,4}$"})), ""),
    (changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z0-9]{2,9}$"})), ""),
    (changed(field("dest", logicalTypeOptions={})), ""),
    (
        changed(added(required=True)),
        "gate is required by 1.1.0 but not in 1.0.0 (BACKWARD: events of 1.0.0 are still in the topic)",
    ),
    (changed(without("air_time")), "air_time is in 1.0.0 but not in 1.1.0"),
    (
        changed(field("air_time", name="time_in_air")),
        "air_time is in 1.0.0 but not in 1.1.0, which calls it time_in_air: a new name is another field",
    ),
    (changed(field("air_time", physicalName="air_time", name="time_in_air")), ""),
    (changed(field("air_time", required=True)), "air_time may be empty in 1.0.0 but not in 1.1.0"),
    (
        changed(field("distance", logicalTypeOptions={"minimum": 100, "maximum": 6000})),
        "distance: the least value is 1 on one side and 100 on the other",
    ),
    (
        changed(field("distance", logicalTypeOptions={"exclusiveMinimum": 1, "maximum": 6000})),
        "distance: the least value is 1 on one side and 2 on the other",
    ),
    (
        changed(field("flight", logicalType="string", logicalTypeOptions={})),
        "flight is integer in 1.0.0 and string in 1.1.0",
    ),
    (
        changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z]{4}$"})),
        "dest: the pattern is ^[A-Z]{3}$ on one side",
    ),
    (changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z]{3}$", "minLength": 3, "maxLength": 3})), ""),
    (
        changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z]{3}$", "maxLength": 2})),
        "dest: the length is up to any on one side and 2 on the other",
    ),
    (
        changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z]{3}$", "minLength": 4})),
        "dest: the length is from 0 on one side and from 4 on the other",
    ),
    (changed(field("tailnum", tags=[])), "tailnum was personal and would be stored unmasked"),
    (changed(field("dest", tags=["personal"])), "dest becomes personal, but the raw zone contains it unmasked"),
    (
        changed(field("distance", customProperties=[{"property": "unit", "value": "km"}])),
        "distance was in miles and is in km",
    ),
    (
        changed(field("flight_id", primaryKey=False), field("carrier", primaryKey=True)),
        "the key was flight_id and is carrier",
    ),
    (changed(lambda d: d["schema"][0].update(physicalName="flights-2")), "the topic was flights and is flights-2"),
    (changed(lambda d: d["schema"][0].update(name="departures")), "the table was flights and is departures"),
    (changed(added(), version="1.0.0"), "the fields have changed, but the version is still 1.0.0"),
    (
        changed(added(), mode="FORWARD"),
        "gate is in 1.1.0 but not in 1.0.0 (FORWARD: readers of 1.0.0 would reject the new events)",
    ),
    (changed(added(), mode="FULL"), "readers of 1.0.0 would reject the new events"),
    (
        changed(field("dest", logicalTypeOptions={"pattern": "^[A-Z]{3,4}$"}), mode="FORWARD"),
        "dest: the pattern is ^[A-Z]{3,4}$ on one side",
    ),
]


@pytest.mark.parametrize(("new", "says"), CHANGES)
def test_a_change_that_breaks_who_reads_the_data_is_refused_with_the_reason(new: Contract, says: str) -> None:
    found = breaks(OLD, new)
    assert (any(says in why for why in found), bool(found)) == (True, True) if says else not found


def test_what_nobody_checks_may_change_at_will() -> None:
    assert not breaks(changed(version="1.0.0", mode="NONE"), changed(without("air_time"), mode="NONE"))


def test_a_form_may_become_a_list_of_all_that_has_it() -> None:
    def version(number: str, written: dict[str, Any]) -> Contract:
        return contract_of(
            small(KEY, {"name": "x", "logicalType": "string", **written}, apiVersion="v3.2.0", version=number)
        )

    form, listed, fewer = (
        {"logicalTypeOptions": {"pattern": "^(on|off)$"}},
        *({"enum": [{"value": value} for value in names]} for names in (("on", "off", "a.b"), ("on",))),
    )
    assert not breaks(version("1.0.0", form), version("1.1.0", listed))
    assert "only a list on the other" in breaks(version("1.0.0", form), version("1.1.0", fewer))[0]


@pytest.mark.parametrize(
    ("kind", "limits", "values", "says"),
    [
        ("string", {"pattern": "^[a-c]$"}, ["a", "b"], ""),
        ("string", {"pattern": "^[a-c]$"}, ["a", "z"], "z is allowed on one side but not"),
        ("string", {"maxLength": 3}, ["abc"], ""),
        ("string", {"minLength": 3}, ["abc", "d"], "d is allowed"),
        ("integer", {"maximum": 5}, [1, 5], ""),
        ("integer", {"exclusiveMaximum": 5}, [1, 5], "5 is allowed"),
        ("integer", {"multipleOf": 2}, [2, 3], "3 is allowed"),
        ("integer", {"minimum": 0}, [-1], "-1 is"),
    ],
)
def test_a_list_of_values_may_become_limits_that_hold_all_of_them(
    kind: str, limits: dict[str, Any], values: list[Any], says: str
) -> None:
    def version(number: str, written: dict[str, Any]) -> Contract:
        return contract_of(
            small(KEY, {"name": "x", "logicalType": kind, **written}, apiVersion="v3.2.0", version=number)
        )

    listed, limited = (
        version("1.0.0", {"enum": [{"value": value} for value in values]}),
        version("1.1.0", {"logicalTypeOptions": limits}),
    )
    found = breaks(listed, limited)
    assert any(says in why for why in found) if says else not found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (("a",), ("a", "b"), ""),
        (("a", "b"), ("a",), "b is allowed on one side but not on the other"),
        ((), ("a",), "any value is allowed on one side"),
        (("a",), (), ""),
    ],
)
def test_a_list_of_values_may_grow(old: tuple[str, ...], new: tuple[str, ...], says: str) -> None:
    def version(number: str, values: tuple[str, ...]) -> Contract:
        listed = {"enum": [{"value": value} for value in values]} if values else {}
        return contract_of(
            small(KEY, {"name": "x", "logicalType": "string", **listed}, apiVersion="v3.2.0", version=number)
        )

    found = breaks(version("1.0.0", old), version("1.1.0", new))
    assert any(says in why for why in found) if says else not found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ({"physicalType": "decimal(9,2)"}, {"physicalType": "decimal(12,3)"}, ""),
        (
            {"physicalType": "decimal(9,2)"},
            {"physicalType": "decimal(9,3)"},
            "x has 9 digits, 2 after the decimal point",
        ),
        (
            {"logicalType": "object", "properties": [{"name": "a", "logicalType": "integer"}]},
            {"logicalType": "object", "properties": [{"name": "a", "logicalType": "string"}]},
            "x.a is integer in 1.0.0 and string in 1.1.0",
        ),
        (
            {"logicalType": "array", "items": {"logicalType": "integer"}},
            {"logicalType": "array", "items": {"logicalType": "number"}},
            "",
        ),
        (
            {"logicalType": "array", "items": {"logicalType": "number"}},
            {"logicalType": "array", "items": {"logicalType": "integer"}},
            "x[] is number in 1.0.0",
        ),
        ({"logicalType": "integer"}, {"logicalType": "object"}, "x is integer in 1.0.0 and json in 1.1.0"),
        (
            {"logicalType": "timestamp"},
            {"logicalType": "timestamp", "logicalTypeOptions": {"defaultTimezone": "UTC"}},
            "",
        ),
        (
            {"logicalType": "timestamp", "logicalTypeOptions": {"defaultTimezone": "UTC"}},
            {"logicalType": "timestamp"},
            "is written in ISO 8601, UTC where it has no zone",
        ),
        (
            {"logicalType": "integer", "logicalTypeOptions": {"multipleOf": 10}},
            {"logicalType": "integer", "logicalTypeOptions": {"multipleOf": 5}},
            "",
        ),
        (
            {"logicalType": "integer"},
            {"logicalType": "integer", "logicalTypeOptions": {"multipleOf": 5}},
            "values are multiples of any number on one side",
        ),
    ],
)
def test_types_widen_in_all_their_parts(old: dict[str, Any], new: dict[str, Any], says: str) -> None:
    one, other = (
        contract_of(small(KEY, {"name": "x", **values}, version=version))
        for values, version in ((old, "1.0.0"), (new, "1.1.0"))
    )
    found = breaks(one, other)
    assert any(says in why for why in found) if says else not found


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        ("^[A-Z]{3}$", "^[A-Z]{3,4}$", True),
        ("^[A-Z]{3,4}$", "^[A-Z]{3}$", False),
        ("^abc$", "b", True),
        ("b", "^abc$", False),
        ("^a|b$", "^a|b$", True),
        ("^a|b$", "^a|c$", None),
        (r"^\d+$", "^[0-9a-f]+$", True),
        ("^x{1000}$", "^x{1,2000}$", None),
        (r"^\$[0-9]+$", r"^\$[0-9]+", True),
        ("[", "a", None),
    ],
)
def test_a_form_that_takes_all_that_another_takes_is_wider(narrow: str, wide: str, expected: bool | None) -> None:
    assert within(narrow, wide) is expected


def committed(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_contracts_are_checked_against_another_revision(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "x" / "contracts"
    folder.mkdir(parents=True)
    document = bent_document(FLIGHTS)
    committed(tmp_path, "init")
    (folder / "flights.yaml").write_text(yaml.safe_dump(document))
    committed(tmp_path, "add", "-A")
    committed(tmp_path, "commit", "-m", "first")
    assert [item.state for item in check(tmp_path, "HEAD")] == ["unchanged"]
    (folder / "flights.yaml").write_text(
        yaml.safe_dump(bent_document(FLIGHTS, without("air_time"), lambda d: d.update(version="2.0.0")))
    )
    (folder / "other.yaml").write_text(yaml.safe_dump({**document, "id": "other"}))
    found = {item.id: item for item in check(tmp_path, "HEAD")}
    assert (found["flights"].state, found["flights"].before, found["other"].state) == ("breaking", "1.0.0", "new")
    (folder / "flights.yaml").unlink()
    assert {item.id: item.state for item in check(tmp_path, "HEAD")} == {"flights": "breaking", "other": "new"}
    with pytest.raises(UsageError, match="nowhere"):
        check(tmp_path, "nowhere")


def test_a_transitive_mode_asks_every_version_that_there_was(tmp_path: Path) -> None:
    committed(tmp_path, "init")
    file = tmp_path / "c.yaml"
    for number, bounds in enumerate(({"maximum": 9}, {"maximum": 5}, {"maximum": 7})):
        mode = [{"property": "compatibility", "value": "NONE" if number < 2 else "BACKWARD_ALL"}]
        item = {"name": "x", "logicalType": "integer", "logicalTypeOptions": bounds}
        file.write_text(yaml.safe_dump(small(KEY, item, version=f"{number}.0.0", customProperties=mode)))
        committed(tmp_path, "add", "-A")
        if number < 2:
            committed(tmp_path, "commit", "-m", str(number))
    (found,) = check(tmp_path, "HEAD", [file])
    assert found.state == "breaking" and found.reasons == (
        "x: the greatest value is 9 on one side and 7 on the other"
        " (BACKWARD_ALL: events of 0.0.0 are still in the topic)",
    )


def test_files_and_folders_anywhere_are_checked_and_all_faults_of_all_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.odcs.yaml").write_text(yaml.safe_dump(small(KEY)))
    (tmp_path / "a" / "other.yaml").write_text("kind: Deployment\n")
    (tmp_path / "bad.yaml").write_text(
        yaml.safe_dump(small({"name": "id", "logicalType": "txt"}, {"name": "id2", "logicalType": "txt"}))
    )
    (tmp_path / "by tes.json").write_bytes(b"\xff\xfe")
    found = check(tmp_path, "", [tmp_path / "a", tmp_path / "bad.yaml", tmp_path / "by tes.json"])
    assert [(Path(item.path).name, item.state, len(item.faults)) for item in found] == [
        ("good.odcs.yaml", "valid", 0),
        ("bad.yaml", "wrong", 2),
        ("by tes.json", "wrong", 1),
    ]
    text = as_text(found)
    assert "line 9: c.id.logicalType" in text and text.endswith("3 files, 3 contracts: 2 to fix")
    assert [item["state"] for item in json.loads(as_json(found))] == ["valid", "wrong", "wrong"]
    sarif = json.loads(as_sarif(found))
    jsonschema.validate(
        sarif, json.loads((ROOT / "tests" / "review" / "sarif-2.1.0.schema.json").read_text(encoding="utf-8"))
    )
    assert sum(result["level"] == "error" for result in sarif["runs"][0]["results"]) == 3
    places = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in sarif["runs"][0]["results"]
        if result["level"] == "error"
    }
    assert {place.rpartition("/")[2] for place in places} == {"bad.yaml", "by%20tes.json"}
    for wrong, says in ((tmp_path / "nowhere", "no such file or folder"), (tmp_path / ".git", "")):
        if says:
            with pytest.raises(UsageError, match=says):
                check(tmp_path, "", [wrong])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="contains no data contract"):
        check(tmp_path, "", [tmp_path / "empty"])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "is a model's folder but has no data contract, so nothing would validate its data"),
        ({"contract.yml": "kind: [DataContract"}, "contract.yml:2: is not valid YAML"),
        (
            {"contracts/a.json": json.dumps(small({"name": "x", "logicalType": "integer"}))},
            "has no primary key, but a feature view needs one",
        ),
        (
            {"contract.yaml": yaml.safe_dump(small(KEY, status="retired"))},
            "is retired, so its events are no longer ingested",
        ),
        (
            {"contracts/a.yaml": yaml.safe_dump(small(KEY)), "contracts/b.yml": yaml.safe_dump(small(KEY))},
            "describes the topic c, and so does",
        ),
    ],
)
def test_a_models_folder_without_a_readable_contract_is_refused(
    files: dict[str, str], says: str, tmp_path: Path
) -> None:
    from pipelines.context import load_definition

    (tmp_path / "experiment.py").write_text("")
    (tmp_path / "model.yaml").write_text("target: x\n")
    (tmp_path / "contracts").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as raised:
        load_definition(tmp_path)
    assert says in str(raised.value)


def test_the_page_of_data_is_current() -> None:
    assert (ROOT / "docs" / "data.md").read_text(encoding="utf-8") == catalogue(ROOT), "run `make docs`"


def test_a_time_without_quotes_is_a_time_and_zones_are_seen_through() -> None:
    unquoted = changed(
        field("scheduled_departure", logicalTypeOptions={"minimum": "2012-12-31T00:00:00Z", "maximum": "2014-01-02"})
    )
    assert next(p for p in unquoted.fields if p.name == "scheduled_departure").limits.least == datetime(
        2012, 12, 31, tzinfo=UTC
    )
    text = "minimum: 2012-12-31T00:00:00Z"
    assert Document("c.yaml", text).data == {"minimum": "2012-12-31T00:00:00Z"}
    wider = changed(
        field(
            "scheduled_departure", logicalTypeOptions={"minimum": "2012-12-31T01:00:00+02:00", "maximum": "2014-01-02"}
        )
    )
    assert not [why for why in breaks(unquoted, wider) if "least" in why]


@pytest.mark.parametrize(
    ("implementation", "says"),
    [
        (
            {"expectation_type": "expect_column_values_to_be_in_sett", "kwargs": {}},
            "did you mean expect_column_values_to_be_in_set?",
        ),
        ({"type": "expect_column_values_to_be_in_set", "kwarg": {}}, "an expectation has no kwarg"),
        (
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "orign", "value_set": []}},
            "is about the field 'orign'",
        ),
        ("type: expect_column_mean_to_be_betwen\nkwargs: {}", "did you mean expect_column_mean_to_be_between?"),
        (
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"value_sett": []}},
            "does not take 'value_sett'; did you mean value_set?",
        ),
        ({"type": "expect_column_values_to_be_in_set"}, "expect_column_values_to_be_in_set needs value_set"),
        (
            {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["origin", "dst"]}},
            "is about the field 'dst'",
        ),
        ("- a list", "its `implementation` must name an expectation"),
    ],
)
def test_a_slip_in_an_expectation_is_told_before_any_data(implementation: Any, says: str) -> None:
    written = {"type": "custom", "engine": "great-expectations", "implementation": implementation}
    with pytest.raises(UsageError) as raised:
        changed(field("origin", quality=[written]))
    assert says in str(raised.value)


def _frame(**columns: Any) -> Any:
    import pyarrow as pa

    return pa.table(columns)


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"metric": "rowCount", "mustBeBetween": [1, 3]}, True),
        ({"metric": "rowCount", "mustBeGreaterThan": 3}, False),
        ({"type": "library", "rule": "duplicateCount", "mustBe": 0, "arguments": {"properties": ["v"]}}, False),
        (
            {"metric": "duplicateValues", "mustBeLessThan": 50, "unit": "percent", "arguments": {"properties": ["v"]}},
            True,
        ),
        ({"type": "sql", "query": "SELECT count(*) FROM {object} WHERE v > 5", "mustBe": 1}, True),
        ({"type": "sql", "query": "SELECT max(v) FROM ${table}", "mustBeLessOrEqualTo": 8}, False),
        ({"type": "sql", "query": "SELECT true", "mustBe": True}, True),
        ({"type": "sql", "query": "SELECT id FROM c", "mustBe": "a"}, False),
    ],
)
def test_metrics_and_queries_of_a_table_are_measured(rule: dict[str, Any], holds: bool) -> None:
    from pipelines.data.measured import measured

    document = small(
        KEY, {"name": "v", "logicalType": "integer"}, apiVersion="v3.1.0" if "rule" not in rule else "v3.0.2"
    )
    document["schema"][0]["quality"] = [rule]
    contract = contract_of(document)
    (found,) = measured(contract, {"c": (contract, _frame(id=["a", "b", "c"], v=[1, 1, 9]))})
    assert found["success"] == holds and found["stops"]


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"metric": "nullValues", "mustBe": 1}, True),
        ({"metric": "nullValues", "mustBeLessThan": 20, "unit": "percent"}, False),
        ({"metric": "missingValues", "mustBe": 2, "arguments": {"missingValues": [None, "n/a"]}}, True),
        ({"metric": "invalidValues", "mustBe": 2, "arguments": {"validValues": ["x"]}}, True),
        ({"metric": "invalidValues", "mustBe": 1, "arguments": {"pattern": "^[a-z]$"}}, True),
        ({"metric": "duplicateValues", "mustNotBe": 0}, False),
        ({"type": "sql", "query": "SELECT count(${property}) FROM ${object}", "mustBe": 3}, True),
    ],
)
def test_metrics_and_queries_of_a_field_are_measured(rule: dict[str, Any], holds: bool) -> None:
    from pipelines.data.measured import measured

    contract = contract_of(
        small(
            KEY,
            {"name": "v", "physicalName": "val", "logicalType": "string", "quality": [{**rule, "severity": "warning"}]},
        )
    )
    (found,) = measured(contract, {"c": (contract, _frame(id=["a", "b", "c", "d"], val=["x", "y", None, "n/a"]))})
    assert found["success"] == holds and not found["stops"] and found["column"] == "val"


def test_a_query_reads_no_file_and_changes_nothing() -> None:
    for query in (
        "SELECT count(*) FROM '/etc/passwd'",
        "DROP TABLE c",
        "SELECT 1; SELECT 2",
        "COPY c TO '/tmp/x'",
        "SELECT nope FROM c",
    ):
        document = small(KEY)
        document["schema"][0]["quality"] = [{"type": "sql", "query": query, "mustBe": 0}]
        found = told(document)
        assert (
            not found.faults
            and not found.contracts[0].rules
            and any("kept, not enforced: " in note.says for note in found.notes)
        ), query


def test_a_json_schema_of_a_contract_takes_what_the_decoder_takes() -> None:
    from pipelines.data.decode import Decoder

    parts = [
        {"name": "a", "logicalType": "date", "required": True},
        {"name": "b", "logicalType": "array", "items": {"logicalType": "integer"}},
    ]
    contract = contract_of(
        small(
            KEY,
            {"name": "o", "logicalType": "object", "properties": parts},
            {"name": "d", "logicalType": "number", "physicalType": "decimal(5,2)"},
        )
    )
    events: list[tuple[dict[str, Any], bool]] = [
        ({"id": "a", "o": {"a": "2024-01-01", "b": [1, 2]}, "d": 1.25}, True),
        ({"id": "a", "o": None, "d": None}, True),
        ({"id": "a", "o": {"b": [1]}}, False),
        ({"id": "a", "o": {"a": "2024-01-01", "b": ["x"]}}, False),
        ({"id": "a", "o": {"a": "2024-01-01", "c": 1}}, False),
    ]
    validator = jsonschema.Draft7Validator(contract.json_schema())
    for event, good in events:
        assert validator.is_valid(event) == good
        assert (not Decoder(contract).decode([json.dumps(event).encode()])[1]) == good


@pytest.mark.parametrize(
    ("status", "retired", "draft"),
    [
        ("active", False, False),
        ("Retired", True, False),
        ("end of life", True, False),
        ("draft", False, True),
        ("In Development", False, True),
        ("deprecated", False, False),
        ("current", False, False),
    ],
)
def test_a_status_has_an_effect(status: str, retired: bool, draft: bool) -> None:
    contract = contract_of(small(KEY, status=status))
    assert (contract.retired, contract.draft) == (retired, draft)
    assert bool([note for note in told(small(KEY, status=status)).notes if note.place == "status"]) == (
        retired or draft or status == "deprecated"
    )
    if draft:
        with pytest.raises(
            UsageError, match="c is a draft, and a production environment accepts only active contracts"
        ):
            refuse_drafts([contract])
    else:
        refuse_drafts([contract])


def test_rules_that_would_judge_tokens_are_kept_and_not_run() -> None:
    masked = {"name": "mail", "logicalType": "string", "tags": ["pii"]}
    rules = [
        {"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "@"}},
        {"metric": "nullValues", "mustBe": 0},
        {"type": "sql", "query": "SELECT count(*) FROM {object} WHERE mail LIKE '%@%'", "mustBe": 0},
        {
            "type": "custom",
            "engine": "gx",
            "implementation": {
                "type": "expect_column_values_to_match_regex",
                "kwargs": {"column": "mail", "regex": "@"},
            },
        },
        {
            "type": "custom",
            "engine": "gx",
            "implementation": {"type": "expect_column_values_to_not_be_null", "kwargs": {}},
        },
    ]
    found = told(small(KEY, {**masked, "quality": rules}))
    assert not found.faults and [rule.metric or rule.expectation for rule in found.contracts[0].rules] == [
        "nullValues",
        "expect_column_values_to_not_be_null",
    ]
    assert sum("mail is masked, but a token does not have the form" in note.says for note in found.notes) == 3


def test_what_is_somebodys_own_is_no_fault_and_inner_rules_are_listed() -> None:
    inner = {
        "name": "a",
        "logicalType": "string",
        "unique": True,
        "primaryKey": True,
        "quality": [{"metric": "nullValues", "mustBe": 0}],
    }
    document = small(
        {**KEY, "customProperties": [{"property": "units", "value": 1}]},
        {"name": "o", "logicalType": "object", "properties": [inner], "unique": True},
        customProperties=[
            {"property": "partitions", "value": 3},
            {"property": "partition", "value": "hourly"},
            {"property": "version", "value": 2},
        ],
        status="certified",
    )
    found = told(document)
    places = {note.place for note in found.notes}
    assert (
        not found.faults and {"c.o.a.unique", "c.o.a.primaryKey", "c.o.a.quality[0]", "c.o.unique", "status"} <= places
    )
    assert any("'units' is not used" in note.says for note in found.notes) and found.contracts[0].partition == "day"


@pytest.mark.parametrize("name", ["notPersonal", "not_personal", "notPersonnal"])
def test_a_whole_contract_is_not_said_to_be_free_of_personal_data(name: str) -> None:
    (fault,) = told(small(KEY, customProperties=[{"property": name, "value": "numbers of our own orders"}])).faults
    assert (
        f"{name} is about a field, but is set on the whole contract" in fault.says
        and fault.fix == "move it to the field's own customProperties"
    )


def test_a_softer_rule_beside_a_hard_one_softens_nothing(tmp_path: Path) -> None:
    from pipelines.steps.quality import validate

    def between(least: int, severity: str) -> dict[str, Any]:
        kwargs = {"column": "called", "min_value": least}
        return {
            "type": "custom",
            "engine": "gx",
            "severity": severity,
            "implementation": {"type": "expect_column_values_to_be_between", "kwargs": kwargs},
        }

    item = {
        "name": "called",
        "physicalName": "v",
        "logicalType": "integer",
        "quality": [between(5, "warning"), between(4, "error"), between(9, "info")],
    }
    contract = contract_of(small(KEY, item))
    results, _ = validate(_frame(id=["a"], v=[3]), contract, tmp_path)
    assert [item["stops"] for item in results if item["expectation"] == "expect_column_values_to_be_between"] == [
        False,
        True,
        False,
    ]


FAULTY = """\
apiVersion: v3.1.0
kind: DataContract
id: c
version: 1.0.0
status: active
schema:
- name: c
  properties:
  - {name: id, logicalType: string, primaryKey: true}
  - {name: a, logicalType: strng, logicalTypeOptions: {minimum: 1}}
  - {name: b, logicalType: string, logicalTypeOptions: {minLength: 9, maxLength: 3}}
  - {name: d, logicalType: string, quality: [{metric: invalidValues, mustBe: 0, arguments: {pattern: "(?=x)"}}]}
  quality: [{metric: duplicateValues, mustBe: 0, arguments: {properties: [a]}}]
customProperties:
- {property: version, value: a}
- {property: compatibility, value: UPWARD}
"""


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        (
            "",
            "",
            [
                (10, "is not one of string"),
                (11, "minLength 9 is above"),
                (12, "is not valid RE2"),
                (16, "compatibility 'UPWARD'"),
            ],
        ),
        (
            "version: 1.0.0",
            "version: 1.0",
            [
                (4, "must be a text"),
                (10, "is not one of"),
                (11, "minLength 9"),
                (12, "is not valid RE2"),
                (16, "compatibility"),
            ],
        ),
        (
            "kind: DataContract\n",
            "",
            [
                (1, "`kind` is missing"),
                (9, "is not one of"),
                (10, "minLength 9"),
                (11, "is not valid RE2"),
                (15, "compatibility"),
            ],
        ),
        (
            "- name: c\n ",
            "-",
            [
                (7, "`name` is missing"),
                (9, "is not one of"),
                (10, "minLength 9"),
                (11, "is not valid RE2"),
                (15, "compatibility"),
            ],
        ),
        (
            "logicalType: strng",
            "logicalType: integer, typ: x",
            [(10, "the standard has no 'typ'"), (11, "minLength 9"), (12, "is not valid RE2"), (16, "compatibility")],
        ),
    ],
)
def test_all_faults_are_told_at_once_and_none_that_only_follows(
    was: str, now: str, says: list[tuple[int, str]]
) -> None:
    found = [(fault.line, fault.says) for fault in read(Document("c.yaml", FAULTY.replace(was, now, 1))).faults]
    assert [line for line, _ in found] == [line for line, _ in says]
    assert all(words in fault for (_, fault), (_, words) in zip(found, says, strict=True))


def test_a_query_may_call_a_field_by_either_of_its_names() -> None:
    from pipelines.data.measured import measured

    rules = [{"type": "sql", "query": f"SELECT max({name}) FROM ${{object}}", "mustBe": 3} for name in ("called", "v")]
    contract = contract_of(
        small(KEY, {"name": "called", "physicalName": "v", "logicalType": "integer", "quality": rules})
    )
    assert [item["success"] for item in measured(contract, {"c": (contract, _frame(id=["a"], v=[3]))})] == [True, True]


@pytest.mark.parametrize(
    ("kind", "values", "rule", "count"),
    [
        ("boolean", [True, False], {"validValues": [True, False]}, 0),
        ("number", [1.0, 2.5], {"validValues": [1, 2.5]}, 0),
        ("integer", [1, 7], {"validValues": ["1"]}, 1),
        ("string", ["1", "x"], {"validValues": [1]}, 1),
        ("integer", [-1, 2, None], {"missingValues": [-1, None]}, 2),
    ],
)
def test_values_of_rules_are_compared_in_the_columns_type(
    kind: str, values: list[Any], rule: dict[str, Any], count: int
) -> None:
    from pipelines.data.measured import measured

    metric = {"metric": next(iter(rule)).replace("valid", "invalid"), "arguments": rule, "mustBe": count}
    contract = contract_of(small(KEY, {"name": "v", "logicalType": kind, "quality": [metric]}))
    (found,) = measured(contract, {"c": (contract, _frame(id=[str(n) for n in range(len(values))], v=values))})
    assert found["success"], found


def test_a_query_has_an_end_and_gives_what_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.data import measured
    from spec.contracts import tables

    monkeypatch.setattr(measured, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(tables, "MOST_SECONDS", 0.5)
    says = {}
    for query in (
        "SELECT max(id) FROM c",
        "SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) d",
        "SELECT [1]",
    ):
        document = small(KEY)
        document["schema"][0]["quality"] = [{"type": "sql", "query": query, "mustBeLessThan": 5}]
        contract = contract_of(document)
        (found,) = measured.measured(contract, {"c": (contract, _frame(id=["a", "b"]))})
        says[query.split()[1]] = (found["success"], found["sample"])
    assert says["max(id)"] == (False, "the query returns 'b', which can't be compared with 5")
    assert says["count(*)"] == (False, "the query did not finish within 0.5 s")
    assert says["[1]"][1].endswith("which can't be compared with 5")


def test_forms_whose_automata_would_have_no_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from spec.contracts import patterns

    monkeypatch.setattr(patterns, "MOST_SECONDS", 1)
    assert within("a.{22}$", "a.{21}$") is None
    for one, other in (("^(a{,3})$", "^a{0,3}$"), ("^\x0b$", r"^\s$"), ("^[]a]$", "^[a]$"), ("^[[:alpha:]]$", "^a$")):
        assert within(one, other) is None, "RE2 and the automata read these differently"


def test_a_link_to_itself_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(small(KEY)))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(check(tmp_path, "", [tmp_path])) == 1
