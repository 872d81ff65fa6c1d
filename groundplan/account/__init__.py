"""What an account must have before a stack can come up in it: looked for (``preflight``), and made where it may be
(``bootstrap``).
"""
