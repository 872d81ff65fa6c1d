"""Arrow columns of lists and objects, rebuilt around changed parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def with_items(array: pa.ListArray, items: pa.Array) -> pa.ListArray:
    """The same lists with other items, which are in the order of ``pyarrow.compute.list_flatten``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, items, type=pa.list_(items.type), mask=pc.is_null(array))


def with_parts(array: pa.StructArray, names: Sequence[str], parts: Sequence[pa.Array]) -> pa.StructArray:
    """Objects of these parts, missing where they were."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fields = [pa.field(name, part.type) for name, part in zip(names, parts, strict=True)]
    return pa.StructArray.from_arrays(parts, fields=fields, mask=pc.is_null(array))
