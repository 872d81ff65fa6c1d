"""What the program is built of, one file a layer. Components take typed arguments and know nothing of objectives."""
