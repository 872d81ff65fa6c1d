"""Whether what the platform calls is allowed by what its program makes: the record of calls, held to the policies of
a stack.
"""
