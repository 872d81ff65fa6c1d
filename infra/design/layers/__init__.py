"""The layers of a design: for each one its options, what they cost, and what keeps them from meeting the objectives."""
