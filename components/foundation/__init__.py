"""What every other component builds on: names and tags, network, keys, secrets, identities."""
