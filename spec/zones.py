"""The lake's zones, and how sensitive what they hold is: by these names components make buckets and keys, and
pipelines find them.
"""

from __future__ import annotations

from enum import StrEnum


class DataClass(StrEnum):
    """How sensitive data is; each class has its own key, so that access can be cut for one class alone."""

    RESTRICTED = "restricted"  # personal data as it came in
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
