"""Manifests: their entries for quarantined rows, and that older ones are read and written unchanged."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.manifests import RangeManifest, RawFile, document_of, manifest_of, runs_of
from pipelines.data.raw_zone import DISCARD, OFFSET, RELEASE, Decided, _within

BEFORE = (
    '{"topic": "t", "contract": "c 1.0.0", "partition": 0, "first": 0, "last": 9, "events": 3, "dead_letters": 0,'
    ' "files": [{"key": "%s", "rows": 3, "sha256": "ab"}], "quarantined": %s, "latest": ""}'
)


@settings(deadline=None)  # the first example pays for imports
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_offsets_are_kept_as_runs_and_found_again(apart: set[int], others: set[int]) -> None:
    runs = runs_of(sorted(apart))
    assert sum(last - first + 1 for first, last in runs) == len(apart) and len(runs) <= len(apart)
    stood = sorted(apart | others)
    if runs and stood:
        found = _within(pa.table({OFFSET: pa.array(stood, pa.int64())}), runs).to_pylist()
        assert [offset for offset, inside in zip(stood, found, strict=True) if inside] == sorted(apart)


def test_a_range_without_quarantine_has_the_bytes_that_it_always_had() -> None:
    text = BEFORE % ("t/p.parquet", "[]")
    assert json.dumps(document_of(manifest_of(json.loads(text)))) == text


def test_a_range_that_was_set_apart_as_a_whole_says_so_of_each_file() -> None:
    found = manifest_of(json.loads(BEFORE % ("quarantine/t/p.parquet", '["note: e-mail"]')))
    assert found.quarantined == found.files[0].quarantined == ("note: e-mail",) and found.apart == {}


def test_what_is_apart_survives_being_written() -> None:
    files = (
        RawFile("t/p.parquet", 3, "a"),
        RawFile("quarantine/t/event_date=1/p.parquet", 2, "b", ("note: e-mail",), ((3, 4),)),
        RawFile("quarantine/t/event_date=2/p.parquet", 1, "c", ("note: e-mail",), ((7, 7),)),
        RawFile("quarantine/t/event_date=2/q.parquet", 1, "d", ("code: card number", "note: e-mail"), ((8, 8),)),
    )
    manifest = RangeManifest("t", "c 1.0.0", 0, 0, 9, 7, 0, files)
    assert manifest_of(json.loads(json.dumps(document_of(manifest)))) == manifest and manifest.rows == 7
    assert manifest.apart == {("note: e-mail",): ((3, 4), (7, 7)), ("code: card number", "note: e-mail"): ((8, 8),)}


def test_a_file_counts_as_what_was_decided_of_it() -> None:
    plain, apart = RawFile("t/p.parquet", 1, "a"), RawFile("quarantine/t/p.parquet", 1, "a", ("note: e-mail",))
    assert Decided().state(plain) == "rows" and Decided().state(apart) == "quarantined"
    assert (
        Decided({apart.key: RELEASE}).state(apart) == "rows"
        and Decided({apart.key: DISCARD}).state(apart) == "discarded"
    )
