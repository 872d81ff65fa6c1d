"""What stands in the place of a value that a preview can't tell; a module of its own, since Pulumi takes a while to
import.
"""

from policies.iam.documents import UNKNOWN

__all__ = ["UNKNOWN"]
