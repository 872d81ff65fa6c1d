"""Entry point of the pack: ``pulumi up --policy-pack policies``."""

from pulumi_policy import EnforcementLevel, PolicyPack

from policies import cost, encryption, exposure, identity  # noqa: F401 (importing a family registers its controls)
from policies.control import CONTROLS, as_policy

PolicyPack(name="groundplan", enforcement_level=EnforcementLevel.MANDATORY, policies=[as_policy(control) for control in CONTROLS.values()])
