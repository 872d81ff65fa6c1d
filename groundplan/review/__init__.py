"""The offline review: what a program would make, what the policy pack says of it, who may do what, what it costs, and
what changed.

``review`` (command.py) puts it together; ``engine`` runs the program in a process of its own.
"""
