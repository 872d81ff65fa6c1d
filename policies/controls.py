"""Every control of the pack.

Importing this registers every control in ``CONTROLS``; ``policies.pack`` turns them into Pulumi policies.
"""

from policies import (  # noqa: F401 (importing a family registers its controls)
    audit,
    cost,
    encryption,
    exposure,
    identity,
    kubernetes,
    machine_learning,
    resilience,
    retention,
    secret_values,
)
from policies.control import CONTROLS

__all__ = ["CONTROLS"]
