"""What the program is built from, one folder per layer. Components take typed arguments and don't use objectives."""
