"""How many requests a second an endpoint answers within its objective."""
