"""Every control of the pack.

Importing this registers every control in ``CONTROLS``; ``policies.pack`` turns them into Pulumi policies.
"""

from policies import (  # noqa: F401 (importing a family registers its controls)
    account,
    audit,
    containers,
    cost,
    data_services,
    encryption,
    exposure,
    functions,
    identity,
    kubernetes,
    machine_learning,
    public_web,
    resilience,
    retention,
    secret_values,
)
from policies.control import CONTROLS

__all__ = ["CONTROLS"]
