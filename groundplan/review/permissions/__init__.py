"""Whether the platform's calls are allowed by what its program creates: the record of calls, checked against the
policies of a stack.
"""
