"""Tables of Glue's catalogue for what steps write: the newest version of each dataset, the newest run of each feature
view. The program's own tables are the raw zone's.

They are here because they change with every run; a table of the program would differ from its state after each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.context import Context

DATASET, FEATURES = "dataset_", "features_"  # beginnings of their names
VIEW_TYPES = {"integer": "bigint", "number": "double", "string": "string", "boolean": "boolean"}
_MOST = 255  # characters of a comment


@dataclass(frozen=True)
class Column:
    """A column, with its type in Hive's words."""

    name: str
    kind: str
    comment: str = ""


def keep_in_step(
    context: Context,
    name: str,
    address: str,
    columns: Sequence[Column],
    *,
    says: str,
    owner: str,
    about: Mapping[str, Any],
) -> str:
    """Have a table lead to a Parquet file; returns its name, with the database's. A failure is printed, and stops
    nothing: the data is there.

    Args:
        address: Of the file, which is alone in its folder.
        about: The table's parameters, beside the format.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    database = context.outputs.catalog.database
    table = {
        "Name": name,
        "Description": says[:2048],
        **({"Owner": owner[:_MOST]} if owner else {}),
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {
            "classification": "parquet",
            **{f"groundplan.{key}": str(value) for key, value in about.items()},
        },
        "StorageDescriptor": {
            "Columns": [{"Name": one.name, "Type": one.kind, "Comment": one.comment[:_MOST]} for one in columns],
            "Location": f"{address.rpartition('/')[0]}/",
            "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
        },
    }
    glue = boto3.client("glue")
    try:
        try:
            glue.update_table(DatabaseName=database, TableInput=table)
        except glue.exceptions.EntityNotFoundException:
            glue.create_table(DatabaseName=database, TableInput=table)
    except (ClientError, BotoCoreError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        print(f"warning: the catalogue's table {database}.{name} was not updated ({code})")
    return f"{database}.{name}"
