"""A served model: its files, its columns, and what answers."""
