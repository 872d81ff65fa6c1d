"""Names within the limits of the services that use them; pipelines also use them, so Pulumi is not imported here."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

HOME = Path(__file__).parents[1]  # where this code is

# This project's own packages, which must not be mixed up with a user's modules of the same name.
PACKAGES = ("spec", "components", "infra", "policies", "pipelines", "groundplan")


def short_name(text: str, limit: int) -> str:
    """``text`` in lower-case letters, digits and dashes, at most ``limit`` characters (at least 8).

    A longer one is cut and ends in six characters of its hash, so that two long names stay different.
    """
    full = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(full) <= limit:
        return full
    return f"{full[: limit - 7].rstrip('-')}-{hashlib.sha256(full.encode()).hexdigest()[:6]}"


def endpoint_log_group(endpoint: str) -> str:
    """Name of the log group of an endpoint's containers, which SageMaker gives."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def bucket_name(project: str, stack: str, purpose: str, account_id: str) -> str:
    """Name of a stack's bucket: S3 allows 63 characters, and names are globally unique."""
    return f"{short_name('-'.join((project, stack, purpose)), 63 - 13)}-{account_id}"
