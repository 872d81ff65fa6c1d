"""What is known of a model while it serves: what it was asked, whether that has changed, and how good it still is."""
