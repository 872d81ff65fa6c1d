"""The catalogue: the lake's contents as tables that Athena reads, and a workgroup that limits what a query can cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope

GB = 10**9
PARTITION = "event_date"


@dataclass(frozen=True, kw_only=True)
class TableArgs(Args):
    """A table of Parquet files below one prefix of the raw zone.

    Args:
        columns: Glue (Hive) type by column.
        description: For users.
        partition_format: ``strftime`` form of the ``event_date`` that the files are partitioned by; empty where they
            are not.
    """

    columns: dict[str, str]
    description: str = ""
    partition_format: str = ""


@dataclass(frozen=True, kw_only=True)
class CatalogArgs(Args):
    """Args:
    tables: By name of the topic, which is also the prefix.
    scan_limit_gb: Most that one query may read.
    """

    raw_bucket: pulumi.Input[str]
    results_bucket: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    tables: dict[str, TableArgs]
    scan_limit_gb: Annotated[int, Between(1, unit="GB")]


def _projection(form: str) -> dict[str, str]:
    """Partitions that Athena computes instead of looking up, so that they need no registration.

    https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
    """
    if not form:
        return {}
    months = form == "%Y-%m"
    settings = {
        "type": "date",
        "format": "yyyy-MM" if months else "yyyy-MM-dd",
        "range": f"{'2010-01' if months else '2010-01-01'},NOW",
    }
    settings |= {"interval": "1", "interval.unit": "MONTHS" if months else "DAYS"}
    return {"projection.enabled": "true", **{f"projection.{PARTITION}.{key}": value for key, value in settings.items()}}


class Catalog(Component):
    """Glue database, one table per contract, Athena workgroup.

    Attributes:
        database: Name of the Glue database.
        workgroup: Name of the Athena workgroup.
    """

    def __init__(self, name: str, scope: Scope, args: CatalogArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        # Hive names can't contain dashes.
        database = aws.glue.CatalogDatabase(
            name,
            name=scope.name(limit=255).replace("-", "_"),
            description=f"Lake of {scope.project} {scope.stack}",
            tags=scope.tags("lake"),
            opts=self.child(),
        )
        for topic, table in args.tables.items():
            aws.glue.CatalogTable(
                f"{name}-{topic}",
                database_name=database.name,
                name=topic.replace("-", "_"),
                description=table.description,
                table_type="EXTERNAL_TABLE",
                parameters={"classification": "parquet", **_projection(table.partition_format)},
                partition_keys=[{"name": PARTITION, "type": "string"}] if table.partition_format else None,
                storage_descriptor={
                    "location": pulumi.Output.concat("s3://", args.raw_bucket, f"/{topic}/"),
                    "input_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                    "output_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                    "ser_de_info": {
                        "serialization_library": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
                    },
                    "columns": [{"name": column, "type": kind} for column, kind in table.columns.items()],
                },
                opts=self.child(),
            )
        workgroup = aws.athena.Workgroup(
            name,
            name=scope.name(limit=128),
            force_destroy=not scope.protect,
            configuration={
                "enforce_workgroup_configuration": True,
                "publish_cloudwatch_metrics_enabled": True,
                "bytes_scanned_cutoff_per_query": args.scan_limit_gb * GB,
                "result_configuration": {
                    "output_location": pulumi.Output.concat("s3://", args.results_bucket, "/athena/"),
                    "encryption_configuration": {"encryption_option": "SSE_KMS", "kms_key_arn": args.key_arn},
                },
            },
            tags=scope.tags("lake"),
            opts=self.child(),
        )
        self.database, self.workgroup = database.name, workgroup.name
        self.register_outputs({"database": self.database, "workgroup": self.workgroup})
