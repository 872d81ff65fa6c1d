"""``groundplan scan``: what an attacker would try first, and what a program can find of it."""
