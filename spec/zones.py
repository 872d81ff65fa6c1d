"""The lake's zones, and the sensitivity of their data: components create buckets and keys by these names, and
pipelines find them by the same names.
"""

from __future__ import annotations

from enum import StrEnum


class DataClass(StrEnum):
    """How sensitive data is; each class has its own key, so that access to a single class can be revoked."""

    RESTRICTED = "restricted"  # personal data as received
    INTERNAL = "internal"  # masked data, features, databases
    MODELS = "models"  # model artifacts and predictions
    AUDIT = "audit"  # who did what


class Zone(StrEnum):
    """The lake's zones, in the order data passes them."""

    RAW = "raw"
    CURATED = "curated"
    FEATURES = "features"
    MODELS = "models"
    AUDIT = "audit"


DATA_CLASS = {
    Zone.RAW: DataClass.RESTRICTED,
    Zone.CURATED: DataClass.INTERNAL,
    Zone.FEATURES: DataClass.INTERNAL,
    Zone.MODELS: DataClass.MODELS,
    Zone.AUDIT: DataClass.AUDIT,
}

OUTPUTS = "platform/outputs.json"  # in the curated zone: the outputs of the stack
LOG = "tlog/"  # prefix of the audit zone: the audit log
LINEAGE = "lineage/"  # prefix of the curated zone: what each step has told of itself
LABELS = "labels/"  # prefix of the curated zone: outcomes of predictions
REGISTRY = "registry/"  # prefix of the models zone: versions
CHECKPOINTS = "checkpoints/"  # prefix of the models zone: states of trainings that are not finished
