"""Processing of events: reading, decoding, masking, storing, quarantine, forgetting."""
