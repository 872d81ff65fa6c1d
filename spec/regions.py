"""AWS regions: which law their data lives under, which zones an account can use, and where its standby is.

https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """One commercial region.

    Attributes:
        jurisdiction: ``eu``, or the ISO 3166 code of the country.
        standby: The region that takes over, in the same jurisdiction; empty where AWS has no second one there.
        zones: Letters of zones that every account can use. New accounts get two of us-west-1's and three of the others.
    """

    jurisdiction: str
    standby: str = ""
    zones: str = "abc"


REGIONS: dict[str, Region] = {
    "af-south-1": Region("za"),
    "ap-east-1": Region("hk"),
    "ap-east-2": Region("tw"),
    "ap-northeast-1": Region("jp", "ap-northeast-3", "acd"),
    "ap-northeast-2": Region("kr"),
    "ap-northeast-3": Region("jp", "ap-northeast-1"),
    "ap-south-1": Region("in", "ap-south-2"),
    "ap-south-2": Region("in", "ap-south-1"),
    "ap-southeast-1": Region("sg"),
    "ap-southeast-2": Region("au", "ap-southeast-4"),
    "ap-southeast-3": Region("id"),
    "ap-southeast-4": Region("au", "ap-southeast-2"),
    "ap-southeast-5": Region("my"),
    "ap-southeast-6": Region("nz"),
    "ap-southeast-7": Region("th"),
    "ca-central-1": Region("ca", "ca-west-1", "abd"),
    "ca-west-1": Region("ca", "ca-central-1"),
    "eu-central-1": Region("eu", "eu-west-1"),
    "eu-central-2": Region("ch"),
    "eu-north-1": Region("eu", "eu-central-1"),
    "eu-south-1": Region("eu", "eu-central-1"),
    "eu-south-2": Region("eu", "eu-west-1"),
    "eu-west-1": Region("eu", "eu-central-1"),
    "eu-west-2": Region("gb"),
    "eu-west-3": Region("eu", "eu-central-1"),
    "il-central-1": Region("il"),
    "me-central-1": Region("ae"),
    "me-south-1": Region("bh"),
    "mx-central-1": Region("mx"),
    "sa-east-1": Region("br"),
    "us-east-1": Region("us", "us-west-2"),
    "us-east-2": Region("us", "us-west-2"),
    "us-west-1": Region("us", "us-east-1", "ac"),
    "us-west-2": Region("us", "us-east-1"),
}
ANYWHERE = "anywhere"
JURISDICTIONS = tuple(sorted({region.jurisdiction for region in REGIONS.values()}))


def regions_of(jurisdiction: str) -> tuple[str, ...]:
    """Names of the regions in a jurisdiction; all of them for ``anywhere``."""
    return tuple(name for name, region in REGIONS.items() if jurisdiction in (ANYWHERE, region.jurisdiction))
