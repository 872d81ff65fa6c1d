"""Groundplan: an MLOps platform derived from business objectives."""
