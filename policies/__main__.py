"""Entry point of the pack: ``pulumi up --policy-pack policies``."""

from pulumi_policy import PolicyPack

from policies.pack import decode_once, policies

decode_once()
PolicyPack(name="groundplan", policies=policies())
