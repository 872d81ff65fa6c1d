"""What an account must have before a stack can come up in it: checked by ``preflight``, created where possible by
``bootstrap``.
"""
