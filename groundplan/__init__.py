"""Groundplan: an MLOps platform drawn from business objectives."""
