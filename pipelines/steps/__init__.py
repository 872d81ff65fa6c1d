"""The steps from data to endpoint, one file a step; ``spec.steps`` declares them. Beside them what only steps use:
the canary, the endpoint, drift.
"""
