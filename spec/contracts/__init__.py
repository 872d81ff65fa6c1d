"""Data contracts in the Open Data Contract Standard (ODCS): read as published, validated against the standard, and what
the platform uses of them.

``reading`` turns a file into ``Contract``s; ``model`` is what the rest of the platform sees.
"""

from spec.contracts.model import FUTURE_TOLERANCE_HOURS, INTERNAL, REASON_LENGTH, Contract, Field, Limits, Rule
from spec.contracts.reading import load_contracts, parse_contracts

__all__ = [
    "FUTURE_TOLERANCE_HOURS",
    "INTERNAL",
    "REASON_LENGTH",
    "Contract",
    "Field",
    "Limits",
    "Rule",
    "load_contracts",
    "parse_contracts",
]
