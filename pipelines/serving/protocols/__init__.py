"""What a request may look like, and what an answer looks like."""
