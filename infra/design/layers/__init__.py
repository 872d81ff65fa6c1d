"""The layers of a design: for each one its options, what they cost, and why they can't meet the objectives."""
