"""Entry point of the Pulumi program.

It is at the project's root, since the engine starts the program and its dynamic provider in the folder of their entry
point: there it puts that folder first on the import path, and there, for the provider, it looks for the virtualenv that
Pulumi.yaml names.
"""

from pathlib import Path

from infra.build.program import build

build(Path(__file__).parent)
