"""Entry point of the pack: ``pulumi up --policy-pack policies``."""

import os

from pulumi_policy import PolicyPack

from policies.pack import policies
from policies.quick import quicken
from policies.settings import SWITCH

if os.environ.get(SWITCH) == "1":
    quicken()
PolicyPack(name="groundplan", policies=policies())
