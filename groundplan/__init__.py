"""Groundplan: an MLOps platform drawn from business objectives."""

from pathlib import Path

HOME = Path(__file__).parent.parent  # where this code lies
