"""Personal data: how it is recognised, and taken out of what is only meant to be read."""
