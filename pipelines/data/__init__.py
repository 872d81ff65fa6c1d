"""Events on their way: read, decoded, masked, stored, set aside, forgotten."""
