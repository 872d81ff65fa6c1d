"""What is told about a running server."""
