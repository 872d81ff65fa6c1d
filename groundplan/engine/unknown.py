"""The placeholder for a value that a preview can't know; a separate module, since Pulumi takes a while to
import.
"""

from policies.iam.documents import UNKNOWN

__all__ = ["UNKNOWN"]
