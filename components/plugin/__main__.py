"""Serves the components of ``packaged`` to the engine."""

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the engine starts this file by itself, wherever the repository is

from pulumi.provider.experimental import component_provider_host

from components.plugin.packaged import COMPONENTS

if __name__ == "__main__":
    component_provider_host(name="groundplan", components=COMPONENTS, version="0.1.0")
