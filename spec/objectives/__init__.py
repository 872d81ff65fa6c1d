"""Business objectives of one environment, read from the stack's structured configuration.

The stack file has them under ``groundplan:objectives``; nothing else determines what the platform looks like.
"""

from spec.objectives.model import (
    HIGHER_IS_BETTER,
    Availability,
    FeatureStore,
    ModelObjectives,
    Objectives,
    OfficeHours,
    OffPeak,
    Regime,
    StackConfig,
    Target,
)
from spec.objectives.reading import load, load_config, parse, stack_names
from spec.objectives.schema import stack_schema

__all__ = [
    "HIGHER_IS_BETTER",
    "Availability",
    "FeatureStore",
    "ModelObjectives",
    "Objectives",
    "OffPeak",
    "OfficeHours",
    "Regime",
    "StackConfig",
    "Target",
    "load",
    "load_config",
    "parse",
    "stack_names",
    "stack_schema",
]
