"""Entry point of the pack: ``pulumi up --policy-pack policies``."""

from pulumi_policy import PolicyPack

from policies.pack import policies, quicken

quicken()
PolicyPack(name="groundplan", policies=policies())
