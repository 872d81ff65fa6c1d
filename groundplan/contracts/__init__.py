"""Data contracts on the command line: checked, imported, listed."""
