"""The steps from data to endpoint, one file per step; ``spec.steps`` declares them. Also what only steps use: the
canary, the endpoint, drift.
"""
