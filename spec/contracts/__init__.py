"""Data contracts in the Open Data Contract Standard (ODCS): read as they are published, held to the standard, and what
the platform takes from them.

``reading`` brings a file to ``Contract``s; ``model`` is what the rest of the platform sees of it.
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
