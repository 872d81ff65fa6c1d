"""Finds one person in what the platform has written: by token, by the entities that belong only to them, by rows that
nobody else has.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipelines.data.raw_zone import parquet, read_parquet
from pipelines.serving.ids import ERASED_ON
from pipelines.serving.ids import NAME as PREDICTION_ID
from pipelines.serving.operating.capture import request_of

if TYPE_CHECKING:
    import pyarrow as pa

ERASED = "[erased]"
ANSWERS = "-answers.parquet"  # end of the name of a file with the labels and predictions of another one's rows


@dataclass
class Person:
    """One person.

    Attributes:
        subject: The personal value as received. It appears in no log and no result.
        token: Its replacement; empty where the person no longer has one.
        entities: Values of key columns that would not be there without the person, by column. They count in objects of
            the same lineage only:
            elsewhere a column of that name may be about something else.
        rows: Pairs of frames: feature rows of the person, and those of everyone else in the same data.
    """

    subject: str
    token: str
    entities: dict[str, set[Any]] = field(default_factory=dict)
    rows: list[tuple[Any, Any]] = field(default_factory=list)
    _known: dict[tuple[str, ...], frozenset[int]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Texts that identify the person."""
        return frozenset(text for text in (self.subject, self.token) if text)

    def within(self, entities: dict[str, set[Any]]) -> Person:
        """The same person as seen in objects where these entities count."""
        return Person(self.subject, self.token, entities, self.rows, self._known)

    def add(self, column: str, values: Iterable[Any]) -> None:
        """Note entities that belong only to the person."""
        self.entities.setdefault(column, set()).update(values)

    def mask(self, table: pa.Table) -> Any:
        """Which rows of a table are the person's, as an Arrow array of booleans: by any text, or by a key."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.array([False] * table.num_rows, pa.bool_())
        for name in table.column_names:
            kind = table.schema.field(name).type
            if pa.types.is_dictionary(kind):
                table = table.set_column(table.column_names.index(name), name, table[name].cast(kind.value_type))
                kind = kind.value_type
            if pa.types.is_nested(kind):
                found = pc.or_(found, holds(table[name].combine_chunks(), self.names))
                continue
            values = set(self.names) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else set()
            values |= {value for value in self.entities.get(name, ()) if isinstance(value, str) == bool(values)}
            if values:
                found = pc.or_(
                    found, pc.fill_null(pc.is_in(table[name], pa.array(sorted(values), type=kind)), fill_value=False)
                )
        return found

    def mentioned(self, table: pa.Table) -> Any:
        """Which rows of a table are the person's, or contain the personal value as a word of a text."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found, word = self.mask(table), rf"(^|[^\pL\pN]){re.escape(self.subject)}($|[^\pL\pN])"
        for name in table.column_names:
            if pa.types.is_string(table.schema.field(name).type):
                found = pc.or_(found, pc.fill_null(pc.match_substring_regex(table[name], word), fill_value=False))
        return found

    def may_own(self, columns: Iterable[str]) -> bool:
        """Whether these columns allow a row to be identified as the person's."""
        return any(set(columns) <= set(mine.columns) for mine, _ in self.rows)

    def owns(self, frame: Any) -> list[bool]:
        """Which rows of a frame of features only the person has. Rows that others share identify nobody."""
        columns = tuple(frame.columns)
        if columns not in self._known:
            own: set[int] = set()
            others: set[int] = set()
            for mine, theirs in self.rows:
                if set(columns) <= set(mine.columns):
                    own |= set(row_digests(mine[list(columns)]))
                    others |= set(row_digests(theirs[list(columns)]))
            self._known[columns] = frozenset(own - others)
        known = self._known[columns]
        return [digest in known for digest in row_digests(frame)] if known else [False] * len(frame)


def holds(array: Any, texts: Iterable[str]) -> Any:
    """Which rows of a column have one of the texts, in whatever part of them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, found = array.type, pa.array([False] * len(array), pa.bool_())
    if pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            found = pc.or_(found, holds(pc.struct_field(array, place), texts))
    elif pa.types.is_list(kind):
        rows = np.zeros(len(array), dtype=bool)
        rows[pc.list_parent_indices(array).filter(holds(pc.list_flatten(array), texts)).to_numpy()] = True
        found = pa.array(rows)
    elif pa.types.is_string(kind):
        found = pc.fill_null(pc.is_in(array, pa.array(sorted(texts), type=kind)), fill_value=False)
    return found


def row_digests(frame: Any) -> list[int]:
    """One number per row, the same for the same values, whatever wrote them: numbers to nine digits (pandas' JSON has
    ten), everything else as text.
    """
    import numpy as np
    import pandas as pd

    def alike(series: Any) -> Any:
        numbers = pd.to_numeric(series.astype(object).where(series.notna(), None), errors="coerce").to_numpy(
            dtype=float, na_value=np.nan
        )
        texts = np.char.mod("%.9g", numbers).astype(object)
        other = np.isnan(numbers)
        texts[other] = [
            "" if missing else str(value) for value, missing in zip(series[other], series[other].isna(), strict=True)
        ]
        return pd.Series(texts, index=series.index)

    return [int(value) for value in pd.util.hash_pandas_object(frame.apply(alike), index=False)]


def without_person(name: str, body: bytes, person: Person) -> tuple[bytes, int]:
    """The bytes of an object without the person, and how many rows or values there were; the object's kind is
    determined by its name.
    """
    kinds = {".parquet": _of_parquet, ".jsonl": _of_lines, ".json": _of_json, ".tar.gz": _of_package}
    kind = next((kinds[ending] for ending in kinds if name.endswith(ending)), _of_bytes)
    try:
        return kind(body, person)
    except (ValueError, TypeError, OSError, tarfile.TarError):  # its content does not match its name
        return _of_bytes(body, person)


def _of_bytes(body: bytes, person: Person) -> tuple[bytes, int]:
    """Anything else: the texts that identify the person are overwritten."""
    count = 0
    for text in person.names:
        count += body.count(text.encode())
        body = body.replace(text.encode(), ERASED.encode())
    return body, count


def _of_parquet(body: bytes, person: Person) -> tuple[bytes, int]:
    import pyarrow.compute as pc

    table = read_parquet(body)
    mask = rows_of(table, person)
    count = int(pc.sum(mask).as_py() or 0)
    return (parquet(table.filter(pc.invert(mask))), count) if count else (body, 0)


def rows_of(table: pa.Table, person: Person) -> Any:
    """Which rows of a table are the person's: by text or key, or because nobody else has such a row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = person.mask(table)
    return (
        pc.or_(mask, pa.array(person.owns(table.to_pandas()), pa.bool_()))
        if person.may_own(table.column_names)
        else mask
    )


def _of_json(body: bytes, person: Person) -> tuple[bytes, int]:
    document = json.loads(body)
    if (
        isinstance(document, dict)
        and isinstance(document.get("data"), list)
        and isinstance(document.get("columns"), list)
    ):  # a frame
        import pandas as pd

        frame = pd.DataFrame(document["data"], columns=document["columns"])
        keep = [not own for own in person.owns(frame)]
        count = keep.count(False)
        rows = [row for row, kept in zip(document["data"], keep, strict=True) if kept]
        return (json.dumps({**document, "data": rows}).encode(), count) if count else (body, 0)
    cleaned, count = _scalars(document, person, "")
    return (json.dumps(cleaned, indent=1).encode(), count) if count else (body, 0)


def _scalars(value: Any, person: Person, name: str) -> tuple[Any, int]:
    """A document in which nothing identifies the person any more; a value is treated as their key where its name says
    so (``sample_key``).
    """
    if isinstance(value, dict):
        found = {key: _scalars(item, person, key) for key, item in value.items()}
        return {key: item for key, (item, _) in found.items()}, sum(count for _, count in found.values())
    if isinstance(value, list):
        items = [_scalars(item, person, name) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    if name == "sample_key" and any(value in values for values in person.entities.values()):
        return None, 1
    if isinstance(value, str) and any(text in value for text in person.names):
        for text in person.names:
            value = value.replace(text, ERASED)
        return value, 1
    return value, 0


def _of_lines(body: bytes, person: Person) -> tuple[bytes, int]:
    """Captured requests, in SageMaker's form; other lines as documents."""
    lines, count = [], 0
    for line in body.splitlines():
        event = json.loads(line)
        data = event.get("captureData") if isinstance(event, dict) else None
        if not isinstance(data, dict) or not {"endpointInput", "endpointOutput"} <= set(data):
            cleaned, removed = _scalars(event, person, "")
        else:
            try:
                request, answer = request_of(data["endpointInput"], ()), json.loads(_text(data["endpointOutput"]))
                request, answer, removed = without_rows(request, answer, person)
            except (ValueError, TypeError, KeyError, AttributeError):
                removed = int(any(text in _text(data["endpointInput"]) for text in person.names))
                request, answer = {}, _only_its_id(_text(data["endpointOutput"]))
            sides = {
                side: {
                    **data[side],
                    "data": json.dumps(document),
                    "encoding": "JSON",
                    "observedContentType": "application/json",
                }
                for side, document in (("endpointInput", request), ("endpointOutput", answer))
            }
            told = {**event.get("eventMetadata", {}), ERASED_ON: datetime.now(UTC).date().isoformat()}
            cleaned = {**event, "captureData": {**data, **sides}, "eventMetadata": told}
        count += removed
        lines.append(json.dumps(cleaned).encode() if removed else line)
    return (b"\n".join(lines), count) if count else (body, 0)


def _only_its_id(answer: str) -> dict[str, Any]:
    """What remains of an answer whose rows can't be told apart."""
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return (
        {name: found[name] for name in (PREDICTION_ID, "model_version") if name in found}
        if isinstance(found, dict)
        else {}
    )


def _text(side: dict[str, Any]) -> str:
    """The content of one side of a captured request."""
    return (
        base64.b64decode(side["data"]).decode("utf-8", "replace")
        if side.get("encoding") == "BASE64"
        else str(side["data"])
    )


def without_rows(
    request: dict[str, Any], answer: dict[str, Any], person: Person
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """A request and its answer without the person's rows, and how many there were."""
    form = next(
        (
            form
            for form in ("entities", "dataframe_records", "dataframe_split", "instances", "inputs")
            if form in request
        ),
        "",
    )
    rows, own = _rows(form, request.get(form), person)
    count = own.count(True)
    if not count:
        return request, answer, 0
    keep = [place for place, mine in enumerate(own) if not mine]
    kept: Any = [rows[place] for place in keep]
    if form == "entities":
        (key,) = request["entities"]
        kept = {key: kept}
    elif form == "dataframe_split":
        kept = {**request[form], "data": kept}
    elif isinstance(request[form], dict):
        kept = {name: [values[place] for place in keep] for name, values in request[form].items()}
    parts = {
        name: [values[place] for place in keep] if isinstance(values, list) and len(values) == len(own) else values
        for name, values in answer.items()
    }
    return {**request, form: kept}, parts, count


def _rows(form: str, value: Any, person: Person) -> tuple[list[Any], list[bool]]:
    import pandas as pd

    if form == "entities" and isinstance(value, dict) and len(value) == 1:
        ((key, keys),) = value.items()
        theirs = person.entities.get(key, set()) | person.names
        return list(keys), [item in theirs for item in keys]
    if form == "dataframe_split":
        rows, frame = value["data"], pd.DataFrame(value["data"], columns=value.get("columns"))
    elif isinstance(value, dict):
        frame = pd.DataFrame(value)
        rows = frame.to_numpy().tolist()
    elif isinstance(value, list):
        rows, frame = value, pd.DataFrame(value)
    else:
        return [], []
    if not len(frame):
        return rows, []
    texts = frame.isin(list(person.names)).any(axis=1)
    keys = [frame[name].isin(list(values)) for name, values in person.entities.items() if name in frame]
    features = frame[[name for name in frame.columns if name not in person.entities]]
    owned = person.owns(features) if all(isinstance(name, str) for name in features.columns) else [False] * len(frame)
    return list(rows), [
        bool(mine)
        for mine in (
            texts
            | pd.Series(owned, index=frame.index)
            | sum(keys, start=pd.Series(False, index=frame.index)).astype(bool)
        )
    ]


def _of_package(body: bytes, person: Person) -> tuple[bytes, int]:
    from pipelines.serving.models.bundle import package

    files, count = {}, 0
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        before = {
            member.name: source.read()
            for member in archive.getmembers()
            if (source := archive.extractfile(member)) is not None
        }
    for name, content in before.items():
        files[name], removed = without_person(name, content, person)
        count += removed
    for name in [name for name, content in files.items() if content != before[name]]:
        answers = f"{name.removesuffix('.parquet')}{ANSWERS}"
        if answers in files:
            files[answers] = answers_without(before[name], before[answers], person)
    return (package(files), count) if count else (body, 0)


def answers_without(rows: bytes, answers: bytes, person: Person) -> bytes:
    """Labels and predictions of the rows that are not the person's; they stand in a file of their own."""
    import pyarrow.compute as pc

    return parquet(read_parquet(answers).filter(pc.invert(rows_of(read_parquet(rows), person))))


def gone(with_person: pa.Table, without: pa.Table, key: str) -> set[Any]:
    """Keys of rows that exist only because of the person."""
    return set(with_person[key].to_pylist()) - set(without[key].to_pylist())


def frames(table: pa.Table, mask: Any, columns: Iterable[str]) -> tuple[Any, Any]:
    """The masked rows and the others, as pandas frames of some of the columns."""
    import pyarrow.compute as pc

    kept = table.select([name for name in columns if name in table.column_names])
    return kept.filter(mask).to_pandas(), kept.filter(pc.invert(mask)).to_pandas()
