"""Whether a new version may replace the one that serves: evidence with stated error rates, and what follows from it."""
