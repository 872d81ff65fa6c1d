"""What every other component stands on: names and tags, network, keys, secrets, identities."""
