"""A log of records that can be proven: a Merkle tree in tiles, and signed notes about its state."""
