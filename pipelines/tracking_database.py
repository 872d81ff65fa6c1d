"""A SQLAlchemy dialect for PostgreSQL on RDS: each connection gets the password, which RDS rotates, from Secrets
Manager.

``postgresql+rdssecret://HOST:PORT/DATABASE?secret_arn=ARN``; so no password is in a URI, a variable or a manifest, and
a rotation needs no restart. Registered as an entry point
(https://docs.sqlalchemy.org/en/20/core/connections.html#registering-new-dialects).
"""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

KEPT_SECONDS = 60.0


class RdsSecretDialect(PGDialect_psycopg):
    """psycopg with user and password from the secret that RDS manages."""

    driver = "rdssecret"
    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._kept: dict[str, tuple[float, dict[str, str]]] = {}

    def connect(self, *arguments: Any, **parameters: Any) -> Any:
        """Connect, over TLS; a password that was rotated meanwhile is fetched again.

        Raises:
            psycopg.OperationalError: The database refuses the connection.
            botocore.exceptions.ClientError: Secrets Manager refuses the secret.
        """
        arn = parameters.pop("secret_arn")
        parameters.setdefault("sslmode", "require")
        try:
            return super().connect(*arguments, **parameters, **self._credentials(arn))
        except self.loaded_dbapi.OperationalError:
            self._kept.pop(arn, None)
            return super().connect(*arguments, **parameters, **self._credentials(arn))

    def _credentials(self, arn: str) -> dict[str, str]:
        asked, found = self._kept.get(arn, (0.0, {}))
        if not found or time.monotonic() - asked > KEPT_SECONDS:
            import boto3

            secret = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
            found = {"user": secret["username"], "password": secret["password"]}
            self._kept[arn] = (time.monotonic(), found)
        return found
