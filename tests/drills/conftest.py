from __future__ import annotations

from tests.integration.conftest import aws, home, inside, outputs, platform, state

__all__ = ["aws", "home", "inside", "outputs", "platform", "state"]
