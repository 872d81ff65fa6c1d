"""What must be true of any contract: an event gives the same result alone and among others, and a compatible version
reads what the previous one wrote.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.data.decode import Decoder, arrow_schema
from pipelines.data.masking import Masker
from pipelines.data.people import token
from pipelines.data.raw_zone import _as_now, parquet, read_parquet
from pipelines.steps.quality import prepare
from spec.contracts import Contract, types
from spec.contracts.compatibility import breaks
from spec.contracts.document import Document
from spec.contracts.reading import read
from spec.errors import UsageError
from tests.contracts import contract_of, small

pytestmark = pytest.mark.slow  # hundreds of contracts

KEY = {"name": "id", "logicalType": "string", "primaryKey": True}
SECRET = b"a key of at least thirty-two bytes"
_numbers = st.one_of(st.integers(-20, 20), st.sampled_from([0.5, -1.5, 2**53 + 1, 10**6]))


def scalars() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.fixed_dictionaries(
        {},
        optional={"minimum": st.integers(-5, 3), "maximum": st.integers(4, 12), "exclusiveMinimum": st.integers(-6, 2)},
    )
    texts = st.fixed_dictionaries(
        {},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(2, 6),
            "pattern": st.sampled_from(["^[a-c]*$", "^[a-z]", "b"]),
        },
    )
    return st.one_of(
        st.builds(lambda options: {"logicalType": "integer", "logicalTypeOptions": options}, bounds),
        st.builds(lambda options: {"logicalType": "number", "logicalTypeOptions": options}, bounds),
        st.builds(
            lambda digits, scale: {"logicalType": "number", "physicalType": f"decimal({digits}, {scale})"},
            st.integers(3, 8),
            st.integers(0, 2),
        ),
        st.builds(lambda options: {"logicalType": "string", "logicalTypeOptions": options}, texts),
        st.sampled_from(
            [
                {"logicalType": "boolean"},
                {"logicalType": "date"},
                {"logicalType": "timestamp"},
                {"logicalType": "object"},
                {"logicalType": "time"},
            ]
        ),
        st.builds(
            lambda values: {"logicalType": "string", "enum": [{"value": value} for value in values]},
            st.sets(st.sampled_from("abc"), min_size=1),
        ),
    )


def kinds() -> st.SearchStrategy[dict[str, Any]]:
    def of_parts(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        named = st.lists(st.tuples(inner, st.booleans()), min_size=1, max_size=3)
        objects = st.builds(
            lambda parts: {
                "logicalType": "object",
                "properties": [{"name": f"p{n}", **kind, "required": must} for n, (kind, must) in enumerate(parts)],
            },
            named,
        )
        return st.one_of(objects, st.builds(lambda item: {"logicalType": "array", "items": item}, inner))

    return st.recursive(scalars(), of_parts, max_leaves=4)


Drawn = list[tuple[dict[str, Any], bool, bool]]
fields = st.lists(st.tuples(kinds(), st.booleans(), st.sampled_from([False, False, True])), min_size=1, max_size=3)


def made(drawn: Drawn, version: str) -> Contract | None:
    properties = [
        {"name": f"f{n}", **kind, "required": must, "tags": ["pii"] if mine else []}
        for n, (kind, must, mine) in enumerate(drawn)
    ]
    try:
        return contract_of(small(KEY, *properties, version=version, apiVersion="v3.2.0"))
    except UsageError:
        return None  # bounds that leave no value


@st.composite
def changed(draw: st.DrawFn) -> tuple[Contract | None, Contract | None]:
    """A contract, and what might be its next version."""
    old = draw(fields)
    new: Drawn = []
    for kind, must, mine in old:
        what = draw(st.sampled_from(["same", "same", "optional", "free", "other"]))
        other = {**kind, "logicalTypeOptions": {}} if what == "free" else draw(kinds()) if what == "other" else kind
        new.append((other, must and what != "optional", mine))
    if draw(st.booleans()):
        new.append((draw(kinds()), False, False))
    return made(old, "1.0.0"), made(new, "1.1.0")


values = st.recursive(
    st.one_of(
        _numbers,
        st.none(),
        st.booleans(),
        st.text("abcz0", max_size=4),
        st.sampled_from(["2024-02-29", "2024-01-01T10:00:00Z", "09:30:00", "1.25", "\ud800"[:0]]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["p0", "p1", "p2"]), inner, max_size=3)
    ),
    max_leaves=5,
)
events = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from(["a", "b"])}, optional={f"f{n}": values for n in range(3)}),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(fields, events)
def test_an_event_is_the_same_alone_and_among_others_and_all_the_way_to_the_dataset(
    drawn: Drawn, sent: list[dict[str, Any]]
) -> None:
    contract = made(drawn, "1.0.0")
    if contract is None:
        return
    payloads, decoder = [orjson.dumps(event) for event in sent], Decoder(contract)
    table, refused = decoder.decode(payloads)
    alone = [decoder.decode([payload]) for payload in payloads]
    assert pa.concat_tables([one for one, _ in alone]).equals(table)
    assert [place for place, (_, bad) in enumerate(alone) if bad] == [item.index for item in refused]
    assert [(item.reason, item.detail) for item in refused] == [
        (bad[0].reason, bad[0].detail) for _, bad in alone if bad
    ]
    schema = jsonschema.Draft7Validator(contract.json_schema())
    for place, event in enumerate(sent):
        if not any(item.index == place for item in refused):
            assert schema.is_valid(event), "what ingestion takes, a broker takes"
    masked = Masker(contract, lambda texts: {text: token(SECRET, text) for text in texts}).mask(table)
    assert masked.schema.equals(arrow_schema(contract)) and read_parquet(parquet(masked)).equals(masked)
    prepared, counts = prepare(masked, contract, frozenset())
    assert prepared.num_rows + counts["duplicates"] == masked.num_rows


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(changed(), events)
def test_a_compatible_version_reads_what_the_one_before_it_wrote(
    pair: tuple[Contract | None, Contract | None], sent: list[dict[str, Any]]
) -> None:
    old, new = pair
    if old is None or new is None or breaks(old, new):
        return
    written, refused = Decoder(old).decode([json.dumps(event).encode() for event in sent])
    good = [event for place, event in enumerate(sent) if not any(item.index == place for item in refused)]
    _, unread = Decoder(new).decode([json.dumps(event).encode() for event in good])
    assert not unread, "BACKWARD: events of the old version are still in the topic"

    def masked(contract: Contract, table: pa.Table) -> pa.Table:
        return Masker(contract, lambda texts: {text: token(SECRET, text) for text in texts}).mask(table)

    assert _as_now(masked(old, written), arrow_schema(new)).schema.types == arrow_schema(new).types, (
        "and so are the raw zone's files"
    )


RULES = [
    {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["a"]}},
    {"type": "sql", "query": "SELECT 1", "mustBeBetween": [0, 9]},
    {
        "type": "custom",
        "engine": "gx",
        "implementation": {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}},
    },
]
RICH = small(
    KEY,
    {
        "name": "x",
        "logicalType": "string",
        "quality": RULES,
        "tags": ["pii"],
        "customProperties": [{"property": "unit", "value": "m"}],
    },
    {
        "name": "at",
        "logicalType": "timestamp",
        "partitioned": True,
        "required": True,
        "logicalTypeOptions": {"minimum": "2024-01-01T00:00:00Z"},
    },
    {
        "name": "o",
        "logicalType": "object",
        "properties": [{"name": "n", "logicalType": "integer", "logicalTypeOptions": {"minimum": 1}}],
    },
    {"name": "l", "logicalType": "array", "items": {"logicalType": "number", "physicalType": "decimal(9, 2)"}},
    customProperties=[{"property": "version", "value": "at"}],
    slaProperties=[{"property": "retention", "value": 3, "unit": "y"}],
)
_odd = st.sampled_from([None, 1, -1.5, "x", "", [], {}, [1], {"a": 1}, True, "sql", [[1]], [None], [{}], "[", 10**30])


def _places(part: Any) -> list[tuple[Any, Any]]:
    inner = list(part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ())
    return [(part, key) for key, _ in inner] + [place for _, value in inner for place in _places(value)]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_contract_it_is_read_or_refused_in_words(data: st.DataObject) -> None:
    document = copy.deepcopy(RICH)
    for _ in range(data.draw(st.integers(1, 3))):
        part, key = data.draw(st.sampled_from(_places(document)))
        if data.draw(st.booleans()):
            part[key] = copy.deepcopy(data.draw(_odd))
        else:
            del part[key]
    found = read(Document("c.json", json.dumps(document)))
    assert all(fault.says and fault.file == "c.json" for fault in found.faults) and not (
        found.faults and found.contracts
    )


_PATTERNS = st.lists(
    st.sampled_from(
        [*"ab09_ -:/.^$[]{},*+?\\dws", "{2}", "{1,3}", "{,3}", "{3,1}", "[a-z]", "[^0-9]", "[z-a]", "[]a]", "[[:a:]]"]
    ),
    max_size=8,
).map("".join)


@settings(max_examples=2000, deadline=None)  # the first call loads Arrow
@given(pattern=_PATTERNS)
def test_a_pattern_that_is_accepted_without_arrow_is_one_for_arrow(pattern: str) -> None:
    if not types._SAME_IN_BOTH.fullmatch(pattern):
        return
    try:
        re.compile(pattern)
    except re.error:
        return
    assert len(pc.match_substring_regex(pa.array([""]), pattern)) == 1, "it raises where RE2 does not accept it"
