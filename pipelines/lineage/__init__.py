"""Where everything came from: OpenLineage events of each step, and what can be read from them."""
