"""The offline review: what a program would create, what the policy pack says about it, who may do what, what it costs,
and what changed.

``review`` (command.py) puts it together; ``engine`` runs the program in a separate process.
"""
